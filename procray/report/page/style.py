"""How the page looks: light, dark and on paper."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d8dbdf;--back:#fff;--raise:#f6f7f8;
--good:#00694c;--bad:#a84300;--wait:#005a8c;--link:#0b5fa5}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a3abb5;--line:#363c44;--back:#15181c;--raise:#1e2329;
--good:#4cc9a0;--bad:#ff9f5a;--wait:#7cc4f5;--link:#7cc4f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif}
main{max-width:1240px;margin:0 auto;padding:2rem 1.25rem 4rem}
.kind{font-size:1.75rem;font-weight:700;letter-spacing:-.01em;margin:0}
.question{font-size:1.15rem;color:var(--soft);margin:.35rem 0 1rem;max-width:46rem}
h2{font-size:1.3rem;margin:2.6rem 0 .6rem;letter-spacing:-.01em}h3{font-size:1rem;margin:1.4rem 0 .4rem}
a{color:var(--link)}h2 a{color:inherit;text-decoration:none}h2 a:hover{text-decoration:underline}
.answer{border:1px solid var(--line);border-left:4px solid var(--wait);border-radius:6px;background:var(--raise);
padding:.8rem 1.1rem;margin:.8rem 0}
.answer h2{margin:0 0 .2rem;font-size:1rem;color:var(--soft)}.answer p{margin:0;font-size:1.06rem}
.badge{display:inline-block;font-size:.85rem;padding:.1rem .6rem;border:1px solid currentColor;border-radius:99px}
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}
.note,.remarks,figcaption,caption{color:var(--soft)}.remarks{padding-left:1.1rem;margin:.4rem 0 1rem}
figure{margin:1.6rem 0}figcaption{font-size:.9rem;margin-top:.4rem;max-width:60rem}
.paper{background:#fff;border:1px solid var(--line);border-radius:6px;padding:.4rem}
.paper svg{display:block;max-width:100%;height:auto}
.scroll{overflow-x:auto}.scroll svg{max-width:none}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;width:100%}
caption{text-align:left;padding:.2rem 0 .5rem}
th,td{padding:.32rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line);cursor:help}
tbody th{text-align:left;font-weight:500;position:sticky;left:0;background:var(--back)}
thead th:first-child{text-align:left;position:sticky;left:0;background:var(--back)}
.words th,.words td{text-align:left;white-space:normal;vertical-align:top}.words tbody th{white-space:nowrap}
.words thead th{cursor:auto}
tr.base th,tr.base td{background:var(--raise)}
.better{color:var(--good);font-weight:700}.worse{color:var(--bad);font-weight:700}
small{display:block;font-size:.92em;font-weight:400;color:var(--soft)}
.grid{margin-bottom:1.8rem}.grid td,.grid tbody th{vertical-align:top}.grid thead th{cursor:auto;white-space:normal}
.grid tr.group th,.grid tr.group td{border-top:2px solid var(--line)}.grid .label{text-align:left}
.grid tbody th+th,.grid thead th+th{position:static}
.gate td{text-align:left;white-space:normal;min-width:7rem}.gate thead th{text-align:left}
.words small{max-width:26rem}a.badge{text-decoration:none}
.chip{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.5em;outline:1px solid var(--line)}
.state{color:var(--bad);font-style:italic;font-size:.92em}
dt{font-weight:600;margin-top:.6rem}dd{margin:0;max-width:54rem;color:var(--soft)}
pre{background:var(--raise);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;overflow-x:auto;
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
summary{cursor:pointer;margin:.6rem 0;color:var(--link)}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#bbb;--back:#fff;--raise:#fff;--good:#00694c;
--bad:#a84300;--wait:#005a8c;--link:#000}
main{max-width:none;padding:0}figure,.answer,tr{break-inside:avoid}h2,h3{break-after:avoid}
.scroll{overflow:visible}.scroll svg{max-width:100%}table{font-size:.62rem}th,td{padding:.2rem .3rem}}
"""
