"""
What looks like a secret, and is never sent to a model: one table of names, one of contents.

It keeps accidents from happening, and is no guard against who hides a secret on purpose.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

NAMES = (
    # keys and certificates; a copy of one (`id_rsa.bak`, `server.key~`) is one
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.pem.*", "*.key", "*.key.*", "*.ppk", "*.ppk.*",
    "*.p12", "*.pfx", "*.p8", "*.jks", "*.keystore", "*.gpg", "*.asc", "*.ovpn", "*.kdb", "*.kdbx", "*.kdbx.*",
    "ssh_host_*_key", "*.agekey", "*.age-key", "*.nmconnection",
    # what programs log in with
    ".env", ".env.*", ".env-*", ".env_*", "*.env", ".envrc", ".envrc.*", ".netrc", "_netrc", ".pgpass", "pgpass.conf",
    ".my.cnf", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd", "htpasswd", ".dockercfg", ".docker-config.json",
    ".dockerconfigjson", "auth.json", "logins.json", "cookies.txt", ".s3cfg", ".boto", ".rclone.conf",
    "rclone.conf", ".vault-token", ".vault_pass*", "kubeconfig", "kubeconfig.*", "*.kubeconfig", ".terraformrc",
    "*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json",
    "service-account*.json", "service_account*.json", "serviceaccount*.json", "*-service-account.json",
    "application_default_credentials.json", "client_secret*.json", "shadow", "shadow-", "passwd-", "gshadow",
    "credentials", "secret", "secrets",
    *(f"{word}.{end}" for word in ("credentials", "secret", "secrets")
      for end in ("json", "toml", "yaml", "yml", "ini", "env", "txt", "csv", "xml")),
    # wallets
    "wallet.dat", "*.wallet", "wallet.json", "keystore.json", "utc--*",
)  # fmt: skip
"""Shell patterns over the name in lower case, without the endings of a copy."""

_COPY = re.compile(
    r"(?:~|\.(?:bak|backup|old|orig|save|copy|tmp|\d{1,3})| ?-? ?copy(?: \d{1,3})?| \((?:copy|\d{1,3})\))+$|^copy of "
)

_CONTENTS = tuple(
    (holds, re.compile(pattern, re.MULTILINE))
    for holds, pattern in (
        ("PRIVATE KEY", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"),
        ("PuTTY-User-Key-File-", r"^PuTTY-User-Key-File-\d:"),
        ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-(?:PQ-)?1[A-Z0-9]{20}"),
        ("PrivateKey", r"^[ \t]*+PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{42,43}="),  # WireGuard
        ('"auths"', r'"auths"[ \t]*:[^\0]{0,2000}"auth"[ \t]*:[ \t]*"[A-Za-z0-9+/=]{8,}"'),  # Docker
        ("kind: Config", r"^kind: Config[^\0]{0,4000}?^[ \t]+token:[ \t]*\S"),  # kubeconfig
        ("client-key-data:", r"client-key-data:[ \t]*\S"),  # kubeconfig
        ('"service_account"', r'"type"[ \t]*:[ \t]*"service_account"'),  # Google
        ("aws_secret_access_key", r"^[ \t]*+aws_secret_access_key[ \t]*=[ \t]*\S"),
        ("_authToken", r"_authToken[ \t]*=[ \t]*\S"),  # npm
        (":$", r"^[^:\s#]{1,64}:\$(?:apr1|2[aby]|5|6|y)\$[^:\s]{8,}"),  # htpasswd, shadow
        ('"terraform_version"', r'"terraform_version"[ \t]*:[ \t]*"[^"\n]{0,40}"[^}]{0,200}"serial"[ \t]*:'),
        ('"ciphertext"', r'"crypto"[ \t]*:[ \t]*\{[^}]{0,400}"ciphertext"'),  # a wallet
    )
)
"""What a text must hold, which is looked up 80 times as fast, and the pattern."""


def secret_name(name: str) -> bool:
    """Whether a file called *name* is taken for a secret, in whatever case it is written."""
    lower = name.lower()
    return any(fnmatchcase(each, pattern) for each in {lower, _COPY.sub("", lower)} for pattern in NAMES)


def secret_content(text: str) -> bool:
    """Whether *text* holds what is taken for a secret."""
    return any(holds in text and pattern.search(text) is not None for holds, pattern in _CONTENTS)
