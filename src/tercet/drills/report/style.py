"""The style sheet of a report: light and dark by the reader's setting, black on white when printed."""

LIGHT = """
--paper:#fbfbf9;--card:#fff;--ink:#1d2327;--soft:#5c6670;--line:#e2e4e0;--band:#f4f5f2;
--ok:#2f8f83;--some:#d9a13b;--bad:#c8452f;--site0:#3d6fb4;--site1:#7a9fd1;--site2:#b3c7e3;--culprit:#c8452f;
--fault:#c8452f14;--pass:#22756b;--fail:#b33a26;--expected:#1d2327;--range:#2f8f8326;
"""
DARK = """
--paper:#14181b;--card:#1b2125;--ink:#e6e9e8;--soft:#9aa5ab;--line:#2e363b;--band:#20272b;
--ok:#45b0a2;--some:#e0b25a;--bad:#ec6a52;--site0:#5d93de;--site1:#8fb3e6;--site2:#c3d6f2;--culprit:#ec6a52;
--fault:#ec6a521f;--pass:#2f9486;--fail:#c64b35;--expected:#e6e9e8;--range:#45b0a230;
"""
STYLE = f"""
:root{{{LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink)}}
body{{font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}}
main{{max-width:1020px;margin:0 auto;padding:36px 20px 64px}}
header{{display:flex;gap:16px;align-items:flex-start;justify-content:space-between}}
h1{{font-size:26px;line-height:1.25;margin:0 0 6px;letter-spacing:-.01em}}
h2{{font-size:17px;margin:0 0 4px}}
p{{margin:0 0 8px}}
.soft{{color:var(--soft)}}
.verdict{{flex:none;padding:7px 16px;border-radius:999px;font-weight:650;color:#fff;background:var(--pass)}}
.verdict.failed{{background:var(--fail)}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(145px,1fr));gap:12px;margin:24px 0}}
.tile,section{{background:var(--card);border:1px solid var(--line);border-radius:10px}}
.tile{{padding:14px 16px}}
.tile b{{display:block;font-size:27px;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}}
.tile.bad b{{color:var(--bad)}}
.tile span{{display:block;font-size:13px;color:var(--soft)}}
section{{padding:20px 22px;margin:0 0 16px;break-inside:avoid}}
section svg{{display:block;width:100%;height:auto;margin-top:14px}}
ul.reasons{{margin:18px 0 0;padding:12px 16px 12px 34px;border-left:4px solid var(--bad)}}
ul.reasons{{background:var(--card);border-radius:4px}}
table{{border-collapse:collapse;width:100%;margin-top:10px;font-size:14px}}
th,td{{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}}
th{{font-weight:600;color:var(--soft);font-size:13px}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
tr.culprit td{{color:var(--culprit);font-weight:600}}
td.mark{{width:1.6em;color:var(--ok);font-weight:700}}td.mark.no{{color:var(--bad)}}
td.log{{font:12px/1.45 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}}
td.log{{word-break:break-word;color:var(--soft)}}
details summary{{cursor:pointer;color:var(--soft);margin-top:10px}}
.key{{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 5px 0 14px;vertical-align:-1px}}
.key.ok{{background:var(--ok)}}.key.some{{background:var(--some)}}.key.bad{{background:var(--bad)}}
svg text{{font-family:inherit;fill:var(--ink)}}
svg .tick{{font-size:12px;fill:var(--soft)}}svg .name{{font-size:13px;fill:var(--soft)}}
svg .value{{font-size:13px;font-variant-numeric:tabular-nums}}svg .strong{{font-weight:650;fill:var(--ink)}}
svg .grid{{stroke:var(--line);stroke-width:1}}svg .band{{fill:var(--band)}}
svg .ok{{fill:var(--ok)}}svg .some{{fill:var(--some)}}svg .bad{{fill:var(--bad)}}
svg .site0{{fill:var(--site0)}}svg .site1{{fill:var(--site1)}}svg .site2{{fill:var(--site2)}}
svg .site0.culprit{{fill:var(--culprit)}}svg .site1.culprit{{fill:var(--culprit);opacity:.72}}
svg .site2.culprit{{fill:var(--culprit);opacity:.5}}
svg .curve0,svg .curve1,svg .curve2{{fill:none;stroke-width:1.8;stroke:var(--site0)}}
svg .curve1{{stroke:var(--site1)}}svg .curve2{{stroke:var(--site2)}}
svg .expected{{stroke:var(--expected);stroke-width:1.6;stroke-dasharray:2 2.4}}
svg .fault{{fill:var(--fault)}}svg .moment{{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 3}}
svg .range{{fill:var(--range)}}svg .budget{{stroke:var(--bad);stroke-width:1.6}}
svg .median{{stroke:var(--ink);stroke-width:2.4}}
svg .run{{fill:var(--ok);stroke:var(--card);stroke-width:1.5}}svg .run.bad{{fill:var(--bad)}}
footer{{color:var(--soft);font-size:13px;margin-top:22px}}
@media print{{body{{background:#fff;font-size:11pt}}main{{max-width:none;padding:0}}details{{display:none}}
*{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}}}
"""
