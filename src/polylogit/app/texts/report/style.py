"""How a report looks: light and dark, on a screen, a phone and paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark; --ink: #1b1d22; --soft: #5a6068; --paper: #fbfbf9; --card: #fff;
  --line: #d9dbdf; --one: #0072b2; --two: #b34700; --shade: 0,114,178;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8e9ec; --soft: #a3a9b2; --paper: #131417; --card: #1c1e22; --line: #3a3d44;
    --one: #56b4e9; --two: #e69f00; --shade: 86,180,233;
  }
}
* { box-sizing: border-box; }
body {
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; word-break: keep-all;
}
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 0 0 .6rem; }
p { margin: .3rem 0; }
.soft { color: var(--soft); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.2rem; margin: 1rem 0;
}
h1, h2, p, figcaption { overflow-wrap: anywhere; }
h2 { break-after: avoid; }
.cards { display: flex; flex-wrap: wrap; gap: 1rem 2.4rem; margin: 0; }
.cards dt { color: var(--soft); font-size: .9rem; }
.cards dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .6rem 0; }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.beside > div { min-width: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
tr, svg, figure { break-inside: avoid; }
th, td {
  padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top;
}
.number { text-align: right; }
td.number { white-space: nowrap; }
.text { min-width: 8rem; overflow-wrap: anywhere; }
.long { min-width: 15rem; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; display: block; }
.wide > svg { min-width: 25rem; }
svg .one { stroke: var(--one); }
svg .two { stroke: var(--two); }
svg .dot, svg .band { fill: var(--one); }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; }
.small figure { display: flex; flex-direction: column; justify-content: end; }
figure { margin: 0; }
figcaption { font-size: .85rem; }
summary { cursor: pointer; font-size: .92rem; }
@media print {
  :root { --paper: #fff; font-size: 11px; }
  body { margin: 0; max-width: none; font-size: 1rem; }
  section { border: 0; padding: 0; }
  .wide { overflow: visible; }
  th, td { padding: .1rem .4rem; }
  td { print-color-adjust: exact; }
}
"""
