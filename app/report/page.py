"""The page around the report's parts: one file, no network, no script, light and dark."""

from html import escape

from app.base.azimuth import NUM_BINS
from app.base.tasks import find_task

# default-src 'none' is the promise that opening a report loads nothing and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_CSS = """
:root{color-scheme:light dark;--page:#f4f3ef;--card:#fff;--ink:#1b1f26;--soft:#5b6370;
--grid:#dcdee3;--good:#1c7a45;--warn:#9a5b00;--accent:31 95 190;
--series-0:#1f5fbe;--series-1:#d1570a;--series-2:#1c7a45;--series-3:#a03b97;--series-4:#8a6d00;
--series-5:#5b6370;--series-6:#0f7f86;--series-7:#b3283a;--series-8:#6a5acd;--band-0:#8881;--band-1:#e0a02026;--band-2:#1f5fbe1f;--band-3:#1c7a4526;
--band-4:#a03b9726}
@media(prefers-color-scheme:dark){:root{--page:#14161a;--card:#1d2026;--ink:#e9ebef;--soft:#a3abb8;
--grid:#343942;--good:#6fd39a;--warn:#f0b45a;--accent:110 165 255;
--series-0:#7aaeff;--series-1:#ff9a52;--series-2:#6fd39a;--series-3:#e58fdc;--series-4:#e2c552;
--series-5:#a3abb8;--series-6:#58c7cf;--series-7:#ff8a94;--series-8:#a99cff;--band-0:#aaa2;--band-1:#e0a02033;--band-2:#7aaeff2b;--band-3:#6fd39a2e;
--band-4:#e58fdc2e}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.5;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.wheel{height:6px;background:linear-gradient(90deg,WHEEL)}
main,header,footer{max-width:1240px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:1.35rem;margin:48px 0 4px;letter-spacing:-.01em}
h3{font-size:1.02rem;margin:0;overflow-wrap:anywhere}
h4{font-size:.95rem;margin:0 0 4px}
p{margin:0 0 12px;max-width:75ch}
.soft,figcaption,small{color:var(--soft)}
.lead{font-size:1.08rem}
.badge{display:inline-block;border-radius:99px;padding:2px 12px;font-size:.85rem;font-weight:600;
border:1.5px solid currentColor;margin-bottom:10px}
.good{color:var(--good)}.warn{color:var(--warn)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.92rem;margin-top:14px}
nav a{color:rgb(var(--accent));text-underline-offset:3px;padding:4px 0}
.card,.panel,.chart,details{background:var(--card);border:1px solid var(--grid);border-radius:12px}
.numbers{display:grid;grid-template-columns:repeat(3,1fr);gap:14px;margin-top:24px}
.card{padding:16px 18px 14px}
.card h3{color:var(--soft);font-weight:600}
.card .value{font-size:2.5rem;font-weight:650;line-height:1.15;letter-spacing:-.02em;
margin:2px 0 4px}
.card .value.none{font-size:1.25rem;font-weight:600;color:var(--soft);padding:12px 0 14px}
.card .value small{font-size:1.15rem;font-weight:500}
.card p{margin:8px 0 0;font-size:.92rem}
.meter{height:6px;border-radius:3px;background:var(--grid);overflow:hidden}
.meter i{display:block;height:100%;background:rgb(var(--accent))}
.charts{display:grid;grid-template-columns:repeat(3,1fr);gap:14px;margin-top:14px}
figure{margin:0}
.chart{padding:14px 14px 6px;min-width:0}
.chart.wide{margin-top:14px}
.chart figcaption b{color:var(--ink);display:block}
.chart svg{display:block;width:100%;height:auto;margin-top:6px}
.chart svg text{font-family:inherit!important}
.swatches{list-style:none;display:flex;flex-wrap:wrap;gap:2px 14px;margin:2px 0 0;padding:0;
font-size:.88rem;color:var(--soft)}
.swatches li{display:flex;align-items:center;gap:6px}
.swatches i{flex:none;width:14px;height:14px;border-radius:3px}
.swatches.lines i:not([class]){width:18px;height:0;border-radius:0}
.key{display:flex;gap:28px;align-items:center;margin:14px 0 18px}
.keys{display:grid;gap:10px;font-size:.92rem}
.keys p{margin:0;color:var(--soft)}
.compass{flex:none;width:216px;height:auto}
.compass text{text-anchor:middle;font-size:8px;fill:var(--soft)}
.compass .main{font-size:13px;font-weight:700;fill:var(--ink)}
.compass .flat{font-size:10px;fill:#222}
.panel{padding:14px;margin-bottom:16px}
.panel p{margin:0 0 8px;font-size:.92rem}
.tiles{display:grid;gap:10px;grid-template-columns:repeat(3,1fr);
grid-template-areas:"photo pt pp" "diff lt lp" ". st sp" ". dt dp"}
.t-photo{grid-area:photo}.t-diff{grid-area:diff}.t-planes-truth{grid-area:pt}
.t-planes-prediction{grid-area:pp}.t-lines-truth{grid-area:lt}.t-lines-prediction{grid-area:lp}
.t-superstructures-truth{grid-area:st}.t-superstructures-prediction{grid-area:sp}
.t-depth-truth{grid-area:dt}.t-depth-prediction{grid-area:dp}
.tiles figcaption{font-size:.86rem;padding-top:3px}
.photo{aspect-ratio:var(--ratio);background:#888 var(--photo) center/100% 100%;border-radius:6px;
overflow:hidden;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.photo img{display:block;width:100%;height:100%}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--grid);border-radius:12px;
padding:10px;margin-top:14px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 10px;vertical-align:top;border-bottom:1px solid var(--grid)}
th{font-weight:600}
thead th{color:var(--soft)}
tr:last-child>*{border-bottom:0}
td.number{text-align:right;white-space:nowrap}
td.name{overflow-wrap:anywhere}
td.metric,td.metric code{white-space:nowrap;overflow-wrap:normal}
td.text{min-width:18rem}
table.plain{width:100%}
.confusion{border-collapse:separate;border-spacing:2px;font-size:.8rem;margin:0 auto}
.confusion th,.confusion td{border:0;padding:0;height:30px;min-width:44px;text-align:center;
vertical-align:middle}
.confusion td{border-radius:4px}
.confusion thead th{font-size:.75rem}
.confusion tbody th{text-align:right;padding:0 8px;white-space:nowrap;position:sticky;left:-10px;
background:var(--card)}
.confusion .hit{outline:1.5px solid var(--soft);outline-offset:-1.5px}
.confusion .strong{color:var(--page)}
.dot{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:6px}
td.bar{min-width:10rem}
td.bar .meter{margin-top:.5em}
details{padding:10px 14px;margin-top:12px}
details[open] summary{margin-bottom:8px}
summary{cursor:pointer;font-weight:600}
details .scroll{border:0;padding:0;margin:0}
code{font-size:.92em;overflow-wrap:anywhere}
footer{margin-top:56px;margin-bottom:32px;font-size:.88rem;color:var(--soft)}
@media(max-width:1000px){.numbers,.charts{grid-template-columns:repeat(2,1fr)}}
@media(max-width:640px){.numbers{grid-template-columns:1fr}.charts{grid-template-columns:1fr}
.card .value{font-size:2.1rem}h1{font-size:1.55rem}
main,header,footer{padding:0 12px}header{padding-top:20px}
.key{flex-direction:column;align-items:flex-start;gap:12px}.compass{align-self:center}
.chart.wide{overflow-x:auto}.chart.wide svg{min-width:760px}
.tiles{gap:8px;grid-template-columns:1fr 1fr;
grid-template-areas:"photo diff" "pt pp" "lt lp" "st sp" "dt dp"}}
@media print{.panel,.chart,.card{break-inside:avoid}}
"""


def page_html(title: str, body: str) -> str:
    """The whole document.

    Args:
        title: Plain text.
        body: HTML of everything between <body> and </body>.
    """
    colours = find_task("segments").colours[:NUM_BINS]
    wheel = ",".join(f"rgb({red} {green} {blue})" for red, green, blue in colours)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS.replace('WHEEL', wheel)}</style></head>"
        f'<body><div class="wheel"></div>{body}</body></html>\n'
    )
