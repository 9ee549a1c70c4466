"""
The document around the content: style, script, and the headers that hold a browser to both. Pure.

Style and script stand in the document and are named by their digests in the policy, so nothing else that a text might
bring along is ever used, and no other address is asked for anything. The document is complete without the script,
which only fetches it again when the server says that something has changed.
"""

from __future__ import annotations

import base64
import hashlib

from rlmwatch.page.content import PageContent
from rlmwatch.page.markup import Element, Redact, el, render

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1b1f24;--soft:#59636e;--line:#d5dae0;--link:#0a5bc4;
--go:#0a5bc4;--good:#19703a;--wait:#8a5300;--bad:#b3261e;--bar:#8fb4e8;--code:#f0f2f5}
@media(prefers-color-scheme:dark){:root{--page:#14171b;--card:#1c2026;--text:#e7eaee;--soft:#a2acb8;--line:#353c46;
--link:#86b7ff;--go:#86b7ff;--good:#74d08f;--wait:#f0b95c;--bad:#ff9a91;--bar:#40669c;--code:#12151a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:4px}
main:focus{outline:none}
.skip{position:absolute;left:-99rem;padding:.5rem 1rem;background:var(--card)}
.skip:focus{left:.5rem;top:.5rem;z-index:1}
header,main,footer{max-width:76rem;margin:0 auto;padding:0 1rem}
header{display:flex;justify-content:space-between;align-items:center;gap:1rem;padding-top:.9rem;padding-bottom:.9rem}
header a{font-weight:700;text-decoration:none;color:inherit;font-size:1.05rem}
#live{margin:0;color:var(--soft);font-size:.875rem;text-align:right}
#live::before{content:"";display:inline-block;width:.55em;height:.55em;border-radius:50%;margin-right:.45em;
background:var(--soft)}
#live.on::before{background:var(--good)}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0 .75rem}
h2{font-size:1.05rem;margin:0 0 .6rem}
h3{font-size:.8rem;margin:.9rem 0 .3rem;color:var(--soft);font-weight:600}
.way{font-size:.9rem;margin-bottom:.4rem}
.path{margin:0;color:var(--soft);font-size:.875rem}
h1~.path{margin-bottom:.4rem}
.sums{display:flex;flex-wrap:wrap;gap:.35rem 1.4rem;list-style:none;padding:0;margin:0 0 1.1rem;color:var(--soft)}
.sums strong{color:var(--text);font-size:1.15rem}
.columns{display:grid;gap:1rem}
.column{display:grid;gap:1rem;align-content:start;min-width:0}
@media(min-width:60rem){.columns{grid-template-columns:minmax(0,5fr) minmax(0,3fr)}}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.9rem 1rem;min-width:0}
section>p:last-child,section>pre:last-child{margin-bottom:0}
section>p{margin:0 0 .6rem;color:var(--soft)}
.one section,.one>.facts,.one>.progress{margin-bottom:1rem}
.runs,.steps{list-style:none;margin:0;padding:0}
.run{padding:.6rem 0 .6rem .8rem;border-left:3px solid var(--line)}
.run+.run{border-top:1px solid var(--line)}
.run p{margin:.15rem 0 0}
.run.running{border-left-color:var(--go)}.run.complete{border-left-color:var(--good)}
.run.short,.run.held,.run.pending{border-left-color:var(--wait)}.run.failed{border-left-color:var(--bad)}
.question{font-weight:600;text-decoration:none;display:block}
.question:hover{text-decoration:underline}
.meta{color:var(--soft);font-size:.875rem}
.why{white-space:pre-wrap}
.failed .why,pre.why,p.why[role=note]{color:var(--bad)}
.held .why,.pending .why,pre.waits{color:var(--wait)}
.progress{color:var(--go)}
.status{font-weight:600}
.status.running{color:var(--go)}.status.complete{color:var(--good)}.status.failed{color:var(--bad)}
.status.short,.status.held,.status.pending{color:var(--wait)}
figure{margin:0 0 .6rem}
svg{display:block;width:100%;height:7rem;overflow:visible}
.bar{fill:var(--bar)}.bar.today{fill:var(--go)}
.axis,.ceiling{stroke:var(--soft);stroke-width:1;vector-effect:non-scaling-stroke}
.ceiling{stroke:var(--bad);stroke-dasharray:4 4}
figcaption{display:flex;justify-content:space-between;color:var(--soft);font-size:.875rem;padding-top:.25rem}
summary{cursor:pointer;padding:.35rem 0}
summary .meta{display:block;padding-left:1.1rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--soft);padding:.2rem 0 .5rem}
th,td{text-align:left;padding:.25rem .5rem .25rem 0;border-bottom:1px solid var(--line);font-weight:400}
thead th{font-weight:600}
.number{text-align:right;font-variant-numeric:tabular-nums;padding-right:0}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.5rem 1rem;margin-top:0}
dt{color:var(--soft);font-size:.8rem}dd{margin:0}
pre{margin:0;padding:.7rem .8rem;background:var(--code);border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;
font:13.5px/1.5 ui-monospace,monospace}
code{font:inherit}
#question>pre,#answer>pre{font:inherit}
.steps>li+li{border-top:1px solid var(--line)}
.steps details[open]{padding-bottom:.9rem}
footer{color:var(--soft);font-size:.875rem;padding-top:1rem;padding-bottom:2rem}
@media(prefers-reduced-motion:no-preference){#live.on::before{animation:on 2s ease-in-out infinite alternate}}
@keyframes on{to{opacity:.45}}
"""

SCRIPT = """
"use strict";
(() => {
  const live = document.getElementById("live");
  let stream = null, busy = false, again = false;
  const shown = new Map();
  const parts = (page) => [...page.querySelectorAll("#main section[id], #sums, #progress, #main .facts")];
  const key = (part, n) => part.id || part.className + n;
  const tell = (words, on) => {
    if (live.textContent !== words) live.textContent = words;
    live.classList.toggle("on", on);
  };
  const keep = (page) => { shown.clear(); parts(page).forEach((part, n) => shown.set(key(part, n), part.outerHTML)); };
  const selecting = () => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && document.getElementById("main").contains(selection.anchorNode);
  };
  const take = (fresh) => {
    const standing = new Map(parts(document).map((part, n) => [key(part, n), part]));
    const coming = parts(fresh).map((part, n) => [key(part, n), part, part.outerHTML]);
    const same = coming.length === standing.size && coming.every(([name]) => standing.has(name));
    const focus = document.activeElement;
    const place = focus && (focus.id ? "#" + CSS.escape(focus.id) :
      focus.getAttribute("href") ? `a[href="${CSS.escape(focus.getAttribute("href"))}"]` :
      focus.tagName === "SUMMARY" ? "#" + CSS.escape(focus.parentElement.id) + ">summary" : null);
    const open = new Map([...document.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
    if (same) {
      for (const [name, part, text] of coming) {
        if (text !== shown.get(name)) standing.get(name).replaceWith(document.adoptNode(part));
      }
    } else {
      document.getElementById("main").replaceWith(document.adoptNode(fresh.getElementById("main")));
    }
    shown.clear();
    for (const [name, , text] of coming) shown.set(name, text);
    for (const [id, was] of open) { const each = document.getElementById(id); if (each) each.open = was; }
    if (place && !document.contains(focus)) document.querySelector(place)?.focus({preventScroll: true});
    document.title = fresh.title;
  };
  const refresh = async () => {
    if (busy || selecting()) { again = true; return; }
    busy = true;
    again = false;
    try {
      const reply = await fetch(location.href, {cache: "no-store"});
      if (reply.ok) {
        take(new DOMParser().parseFromString(await reply.text(), "text/html"));
        tell("Live", true);
      } else if (reply.status === 403) {
        stop();
        tell("rlmwatch was started anew: rlmwatch status shows the new address", false);
      }
    } catch { tell("Not connected", false); }
    busy = false;
    if (again && !selecting()) refresh();
  };
  const stop = () => { if (stream) stream.close(); stream = null; };
  const start = () => {
    if (stream) return;
    stream = new EventSource("events");
    stream.onmessage = refresh;
    stream.onopen = () => tell("Live", true);
    stream.onerror = () => {
      tell("Not connected", false);
      if (stream && stream.readyState === EventSource.CLOSED) { stop(); refresh(); }
    };
  };
  document.addEventListener("selectionchange", () => { if (again && !selecting()) refresh(); });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stop(); } else { start(); refresh(); }
  });
  keep(document);
  if (!document.hidden) start();
})();
"""


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


POLICY = (
    f"default-src 'none'; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Server": "rlmwatch",
}
"""Of every reply."""


def document(content: PageContent, redact: Redact, *, now: str) -> bytes:
    """Return the whole document with *content*, complete without its script."""
    head = "".join(render(each, redact) for each in _head(content.title))
    body = "".join(
        render(each, redact)
        for each in (
            el("a", "To the content", href="#main", class_="skip"),
            el(
                "header",
                el("a", "rlmwatch", href="./"),
                el("p", "As of ", el("time", f"{now[11:19]} UTC", datetime=now), id="live", role="status"),
            ),
            content.main,
            el("footer", "This page shows, and changes nothing. Days are those of UTC."),
        )
    )
    # The two texts below are ours alone: nothing is put into them.
    whole = (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>'
        f"<body>{body}<script>{SCRIPT}</script></body></html>\n"
    )
    return whole.encode("utf-8", "backslashreplace")


def _head(title: str) -> list[Element]:
    return [
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
    ]
