"""What looks like a secret, by its name or by what it holds, is refused where named, and passed over in a folder."""

from __future__ import annotations

import pytest

from rlmwatch.contract.names import input_name
from rlmwatch.contract.secrets import NAMES, secret_name
from rlmwatch.errors import InputError
from rlmwatch.workspace.context import read_context

NAME = input_name("plan_job_input.txt")
BY_NAME = [
    ".envrc", "id_rsa.bak", "id_ed25519", "server.ppk", "server.key~", "Server.KEY", "ID_RSA", ".htpasswd",
    ".vault-token",
    "terraform.tfstate", "terraform.tfstate.backup", "prod.tfvars", "service-account.json", "my-service-account.json",
    "client_secret_123.apps.json", "kubeconfig", "prod.kubeconfig", "wallet.dat", "Wallet.DAT", "UTC--2026-01-01--abc",
    ".netrc", ".pgpass", ".npmrc", "credentials", "credentials.csv", "secrets.yaml", ".env.production", "prod.env",
    "ssh_host_ed25519_key", "me.agekey", ".env-prod", ".env_local", "auth.json", "logins.json", "cookies.txt",
    "id_rsa copy", ".env copy 2", "server (1).key", ".htpasswd (copy)", "Copy of .env", ".vault-token - Copy",
    "home.nmconnection",
    "passwords.kdbx", "cert.p12", "backup.pem.old", "rclone.conf", ".my.cnf", ".dockercfg",
]  # fmt: skip
BY_CONTENT = {
    "pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQVYBF\n",
    "ssh": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n",
    "putty": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
    "kubeconfig": "users:\n- name: me\n  user:\n    client-key-data: LS0tLS1CRUdJTg==\n",
    "kubeconfig token": "apiVersion: v1\nkind: Config\nusers:\n- name: me\n  user:\n    token: abc\n",
    "age": "# created: 2026\nAGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQ\n",
    "wireguard": "[Interface]\nPrivateKey = " + "a" * 43 + "=\n",
    "docker": '{"auths": {"ghcr.io": {"auth": "bWU6cGFzc3dvcmQ="}}}',
    "google": '{\n  "type": "service_account",\n  "project_id": "p"\n}\n',
    "aws": "[default]\naws_access_key_id = AKIA\naws_secret_access_key = wJalr\n",
    "npm": "//registry.npmjs.org/:_authToken=npm_abc\n",
    "htpasswd": "me:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00\n",
    "shadow": "root:$6$saltsalt$hashhashhash:19000:0:99999:7:::\n",
    "terraform": '{\n  "version": 4,\n  "terraform_version": "1.9.0",\n  "serial": 3\n}\n',
    "wallet": '{"version": 3, "crypto": {"cipher": "aes-128-ctr", "ciphertext": "ab"}}\n',
}
HARMLESS = {
    "notes.txt": "We lost the private key of the shed.",
    "monkey.txt": "A monkey, its keys and its environment.",
    "keynote.md": "-----BEGIN PUBLIC KEY-----",
    "environment.txt": "aws_secret_access_key is read from the vault",
    "turkey.csv": "a:b\n",
    "copy of notes.txt": "harmless",
    "authors.json": '{"auths": []}',
    "guide.md": "In WireGuard's file, PrivateKey = your key; kind: Config is what kubectl reads.",
}


def take(root, path):
    return read_context(root, NAME, [path])


@pytest.mark.parametrize("name", BY_NAME)
def test_a_name_that_secrets_have_is_refused(tmp_path, name):
    """Whatever is in it, in whatever case its name is written."""
    (tmp_path / name).write_text("harmless")
    with pytest.raises(InputError, match="looks like a secret"):
        take(tmp_path, name)


@pytest.mark.parametrize("kind", BY_CONTENT)
def test_a_content_that_secrets_have_is_refused(tmp_path, kind):
    """Whatever the file is called."""
    (tmp_path / "notes.txt").write_text(BY_CONTENT[kind])
    with pytest.raises(InputError, match="holds a private key or a password"):
        take(tmp_path, "notes.txt")


def test_in_a_folder_secrets_are_passed_over_and_the_rest_is_taken(tmp_path):
    """Control beside it: what only sounds like a secret is taken."""
    folder = tmp_path / "stuff"
    folder.mkdir()
    for name, text in HARMLESS.items():
        (folder / name).write_text(text)
    for name in BY_NAME:
        (folder / name).write_text("never to be sent")
    for kind, text in BY_CONTENT.items():
        (folder / f"{kind}.txt").write_text(text)
    taken = take(tmp_path, "stuff")
    assert {name.rpartition("/")[2] for name in taken.texts} == set(HARMLESS)


def test_a_folder_of_secrets_in_another_case_is_passed_over(tmp_path):
    """`.SSH` on a disk that keeps case is as secret as `.ssh`."""
    (tmp_path / ".SSH").mkdir()
    (tmp_path / ".SSH" / "config").write_text("Host x")
    with pytest.raises(InputError, match="looks like a secret"):
        take(tmp_path, ".SSH/config")


@pytest.mark.parametrize("pattern", NAMES)
def test_every_row_of_the_table_is_a_name_in_lower_case(pattern):
    """A pattern with a capital would never match."""
    assert pattern == pattern.lower()
    assert secret_name(pattern.replace("*", "x").upper())


@pytest.mark.parametrize("kind", BY_CONTENT)
def test_the_text_of_a_document_is_looked_at_too(tmp_path, kind):
    """A secret in a PDF is refused where the document is named, and passed over in a folder; its text is looked at."""
    (tmp_path / "stuff").mkdir()
    for path in ("plan.pdf", "stuff/plan.pdf"):
        (tmp_path / path).write_bytes(b"%PDF-1.7 of which another process makes text")
    (tmp_path / "stuff" / "notes.txt").write_text("harmless")
    named, folder = take(tmp_path, "plan.pdf"), take(tmp_path, "stuff")
    assert named.context({"plan.pdf": "harmless"}).value == "harmless"  # the control
    with pytest.raises(InputError, match=r"plan\.pdf: it holds a private key or a password"):
        named.context({"plan.pdf": f"page 1\n{BY_CONTENT[kind]}"})
    taken = folder.context({"stuff/plan.pdf": f"page 1\n{BY_CONTENT[kind]}"})
    assert "plan.pdf" not in str(taken.value)
    assert "plan.pdf (it holds a private key or a password" in taken.notes[0]
