"""
False alarms of the table of near misses, and what it costs a walk.

    python benchmarks/near_misses.py [--names 20000] [--seeds 20]

The names are those of ordinary folders: daily notes, a Zettelkasten, meetings, recipes, books, code, data, logs,
papers, photos, prompts for language models, made of word lists with a seed. None of them is meant for rlmwatch. Those
that are inputs by their name (`user_input.txt`) are counted apart: they are answered, so nothing has to be said. At
most one name in ten thousand may be taken for a near miss.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator

from rlmwatch.contract.names import input_name
from rlmwatch.contract.near_misses import near_miss

ALLOWED = 1 / 10_000


def words(text: str) -> tuple[str, ...]:
    """Return the words of *text*."""
    return tuple(text.split())


NOUNS = words("""
    project budget garden kitchen holiday insurance car tax school doctor invoice contract server database network
    customer product research job chat input output prompt data model user form text field search report review plan
    design draft outline chapter summary idea question answer meeting interview travel hotel flight recipe bread soup
    chicken pasta book film music guitar piano language spanish german japanese python rust docker linux kernel shell
    keyboard mouse monitor printer phone camera photo birthday wedding party gift family house rent mortgage bank
    health sleep running cycling yoga meditation philosophy history physics chemistry biology maths statistics
    window door roof heating boiler plumber painter neighbour village city train ticket passport visa luggage map
    mountain river beach island forest lake boat bicycle motorbike engine tyre battery solar energy water gas bill
    salary pension shares fund loan receipt warranty manual guide tutorial course exam lecture thesis essay poem story
    character plot scene dialogue script lyrics chord scale theory concert festival museum gallery painting sculpture
    theatre opera dance football tennis chess puzzle game rules score league coach training diet vitamin medicine
    dentist vaccine allergy hospital clinic cat dog rabbit horse bird fish plant seed tree compost tomato potato apple
    pear cherry cake biscuit cheese wine beer coffee tea spice curry rice noodle salad sauce breakfast lunch dinner
    team manager hiring onboarding feedback retro sprint roadmap release bug incident backup security password policy
    audit legal privacy licence patent trademark brand logo website blog newsletter podcast video editing camera lens
    light sound microphone speaker cable adapter router firewall cloud storage queue cache index schema migration test
    deploy pipeline container cluster metric alert dashboard chart map survey poll vote election climate economy trade
""")
VERBS = words("""
    plan write read fix handle validate parse process improve clean buy sell call email check compare describe design
    discuss explain find collect gather prepare organise capture sanitise compute dispute deploy
""")
NAMES = words(
    "Anna Ben Carla David Eva Felix Greta Hans Ines Jonas Kim Lena Marco Nina Oskar Paula Ravi Sofia Tom Yuki"
)
SMALL = words("""
    the a my our on of for with from in about and to new old first last weekly daily monthly final better simple
""")
CODE = words("""
    main utils index app config test_main conftest setup input inputs user_input text_input chat chat_input input_chat
    ChatInput chat-input chat_input_form prompt prompts prompt_template system_prompt user_prompt job job_input
    job_runner exa exa_client research research_agent input_parser output_writer file_input stdin read_input handler
""")
CODE_ENDINGS = words("py js ts tsx jsx go rs c h cpp java rb sh css scss html json yaml toml vue svelte")
DATA = words("""
    input inputs sample_input test_input training_input inputs_2024 output outputs sample_output user_inputs survey
    raw clean train test labels expected_output input_001 input_002 case_01_input case_01_output model_input grid
""")
DATA_ENDINGS = words("csv json jsonl tsv parquet xml npz pkl dat in out")
LLM = words("""
    system_prompt agent_prompt summary_prompt translation_prompt code_review_prompt prompt_v2 prompts prompt_ideas
    persona_prompt few_shot_prompt judge_prompt image_prompt midjourney_prompts writing_prompts research_notes
""")
LOGS = words("access error server build install debug app worker cron backup chat irc job input_device")
READMES = words("README CHANGELOG LICENSE CONTRIBUTING TODO NOTES AUTHORS INSTALL HACKING FAQ")


def makers(rng: random.Random) -> list[Callable[[], str]]:
    """Return one function per style of naming; each makes a path."""
    pick = rng.choice

    def day() -> str:
        return f"{rng.randint(2015, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"

    def title() -> str:
        chosen = [pick(pick((NOUNS, NOUNS, VERBS, SMALL))) for _ in range(rng.randint(2, 6))]
        return " ".join(chosen).capitalize() if rng.random() < 0.7 else " ".join(chosen).title()

    def joined(by: str) -> str:
        return by.join(pick(pick((NOUNS, NOUNS, VERBS))) for _ in range(rng.randint(1, 4)))

    def ending() -> str:
        return pick(("md", "md", "md", "txt", "txt", "org", "docx", "odt", "pdf", "rtf"))

    return [
        lambda: f"{day()}.md",
        lambda: f"Daily/{day()} {pick(NOUNS)}.md",
        lambda: f"{title()}.{ending()}",
        lambda: f"Notes/{title()}.{ending()}",
        lambda: f"zettel/{rng.randint(2015, 2026)}{rng.randint(10**9, 10**10 - 1)} {title()}.md",
        lambda: f"zettel/{rng.randint(1, 99)}{pick('abcdef')}{rng.randint(1, 9)} {title()}.md",
        lambda: f"Meeting {pick(NAMES)} {day()}.{ending()}",
        lambda: f"meetings/{day()}-{joined('-')}.md",
        lambda: f"Recipes/{title()}.{ending()}",
        lambda: f"{joined('_')}.{ending()}",
        lambda: f"{joined('-')}.{ending()}",
        lambda: f"docs/{joined('-')}.md",
        lambda: f"{joined(' ')} ({rng.randint(1, 4)}).{ending()}",
        lambda: f"src/{pick(CODE)}.{pick(CODE_ENDINGS)}",
        lambda: f"src/{pick(NOUNS)}/{pick(CODE)}.{pick(CODE_ENDINGS)}",
        lambda: f"data/{pick(DATA)}.{pick(DATA_ENDINGS)}",
        lambda: f"aoc/{rng.randint(2015, 2026)}/day{rng.randint(1, 25):02}/{pick(('input', 'sample', 'notes'))}.txt",
        lambda: f"prompts/{pick(LLM)}.{pick(('md', 'txt', 'yaml'))}",
        lambda: f"logs/{pick(LOGS)}-{day()}.log",
        lambda: f"{pick(NOUNS)}/{pick(READMES)}{pick(('', '.md', '.txt'))}",
        lambda: f"{pick(NAMES)} {pick(NOUNS)}.{ending()}",
        lambda: f"Books/{pick(NAMES)} {pick(NAMES)} - {title()}.{pick(('md', 'epub', 'pdf'))}",
        lambda: f"papers/{pick(NAMES).lower()}{rng.randint(1990, 2026)}{pick(NOUNS)}.{pick(('pdf', 'bib', 'md'))}",
        lambda: f"IMG_{rng.randint(1000, 9999)}.{pick(('jpg', 'png', 'heic'))}",
    ]


def names(count: int, seed: int) -> Iterator[str]:
    """Yield *count* different ordinary names."""
    rng = random.Random(seed)  # noqa: S311 (no secret)
    styles, seen = makers(rng), set()
    while len(seen) < count:
        name = rng.choice(styles)()
        if name not in seen:
            seen.add(name)
            yield name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--names", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    alarms: dict[str, str] = {}
    total = inputs = close = 0
    spent = 0.0
    for seed in range(given.seeds):
        folder = list(names(given.names, seed))
        began = time.perf_counter()
        found = [miss for miss in map(near_miss, folder) if miss is not None]
        spent += time.perf_counter() - began
        total += len(folder)
        inputs += sum(input_name(name) is not None for name in folder)
        close += sum("input" in name.lower() or "prompt" in name.lower() for name in folder)
        alarms |= {f"{seed}: {miss.path}": miss.wrong for miss in found}
    for where, wrong in alarms.items():
        print(f"  {where}: {wrong}")
    share = len(alarms) / total
    print(f"{len(alarms)} of {total:,} names taken for a near miss: {share * 10_000:.2f} in ten thousand")
    print(f"{close:,} of the names hold the word input or prompt")
    print(f"{inputs} were inputs by their name; {spent / total * 1e6:.2f} µs a name")
    assert share <= ALLOWED


if __name__ == "__main__":
    main()
