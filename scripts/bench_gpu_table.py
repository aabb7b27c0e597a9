"""The Markdown of what scripts/bench-gpu has measured: from lines of JSON, as many as there are."""
import json

# What bench_gpu_torch.py times, for the rows where torch is not there.
TORCH = ["product fp32", "product fp16", "copy"] + [
    f"{act} {part}" for act in ("gelu", "relu")
    for part in ("forward eager", "forward compiled", "forward + backward eager", "forward + backward compiled",
                 "forward fp16 eager", "alone forward", "alone backward")]


def read(path):
    """The lines of another call; of a run that was cut off, those that are whole."""
    lines = []
    if path.exists():
        for row in path.read_text().splitlines():
            try:
                lines.append(json.loads(row))
            except ValueError:
                pass
    return lines


def ms(time):
    if not time:
        return "–"
    return f"{1e3 * time['median']:.4g} ±{50 * (time['high'] - time['low']) / (time['median'] or 1):.0f}%"


def table(head, rows):
    if not rows:
        return []
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(map(str, row)) + " |" for row in rows] + [""]


def size(line):
    return f"{line['m']}x{line['k']}x{line['n']}"


def activation(line):
    return line["activation"].split("(")[0].removesuffix("_erf")


def peer(torch, op, at):
    """Time, or why there is none."""
    for line in torch:
        if line["op"] == op and line.get("size", at) == at:
            return line.get("time"), line.get("failed")
    return None, None


def beside(time, torch, op, at, scale=1.0):
    """A cell for the peer, with its time divided by elbow's: more than 1 is elbow's win."""
    other, why = peer(torch, op, at)
    if not other:
        return why[:60] if why else "–"
    other = {**other, **{key: scale * other[key] for key in ("median", "low", "high")}}
    return f"{ms(other)} ({other['median'] / time['median']:.2f})"


def layer_rows(lines, torch):
    rows = []
    for line in (l for l in lines if l.get("line") == "layer"):
        name, at, dtype = activation(line), size(line), line["dtype"]
        tile = "" if line.get("tile") is None else f", tile {line['tile']}"
        what = f"{line['step']}: {name} {dtype}{tile}"
        if "times" not in line:
            rows.append((what, at, f"**{line.get('failed', 'no time')}**", *[""] * 5))
            continue
        for part, torch_part, work in (("inference", "forward", 1), ("forward", "", 1), ("backward", "", 2), ("both", "forward + backward", 3)):
            time = line["times"][part]
            rate = f"{work * line['operations'] / time['median'] / 1e12:.3g}"
            cells = ["–"] * 3
            if name == "identity" and part == "inference":
                cells = [beside(time, torch, "product fp32", at), "–", beside(time, torch, "product fp16", at)]
            elif name != "identity" and torch_part:
                cells = [beside(time, torch, f"{name} {torch_part} {way}", at) for way in ("eager", "compiled")]
                cells.append(beside(time, torch, f"{name} forward fp16 eager", at) if part == "inference" else "–")
            shown = {"inference": "forward, nothing kept", "forward": "forward, kept"}.get(part, part)
            rows.append((f"{what}, {shown}", at, ms(time), rate, *cells, f"{line['of_bound']:.2f}"))
    return rows


def alone_rows(lines, torch, copy_rate):
    rows, seen = [], set()
    for line in (l for l in lines if l.get("line") == "alone"):
        key = (activation(line), line["part"], line["dtype"], "tuned" in line["step"])
        if "time" not in line:
            rows.append((*key[:3], line["elements"], f"**{line.get('failed')}**", "", "", "", ""))
            continue
        # The same in every step: once is enough.
        if key in seen:
            continue
        seen.add(key)
        rate = line["bytes"] / line["time"]["median"]
        share = f"{100 * rate / copy_rate:.0f} %" if copy_rate else "–"
        at = str(line["elements"])
        scale = line["bytes"] / (8 * line["elements"])
        rows.append((*key[:3], at, ms(line["time"]), f"{rate / 1e9:.4g}", share, beside(line["time"], torch, "copy", at, scale),
                     beside(line["time"], torch, f"{key[0]} alone {key[1]}", at)))
    return rows


def tile_tables(lines):
    """For each choice of units and type: a row for each tile, a column for each size and form; GFLOP/s, the best in bold."""
    text, groups = [], {}
    for line in (l for l in lines if l.get("line") == "product"):
        groups.setdefault((line["step"], line["dtype"], line["matrix_units"]), []).append(line)
    for (step, dtype, units), found in groups.items():
        columns = list(dict.fromkeys((size(l), l["form"]) for l in found))
        names = list(dict.fromkeys((l["tile"], l["about"]) for l in found))
        cells = {((l["tile"], l["about"]), (size(l), l["form"])): l for l in found}
        best = {}
        for (_, column), line in cells.items():
            best[column] = max(best.get(column, 0), line.get("gflops") or 0)

        def cell(line, column):
            if line is None:
                return ""
            if "failed" in line:
                return "failed"
            if not line["exact"]:
                return "**WRONG**"
            rate = f"{line['gflops']:.4g}"
            return f"**{rate}**" if line["gflops"] == best[column] else rate

        text += [f"## {step}: GFLOP/s ({dtype}; matrix units {units})", ""]
        text += table(["tile"] + [f"{at} {form}" for at, form in columns],
                      [(f"{tile if tile is not None else '–'}: {about}", *(cell(cells.get(((tile, about), c)), c) for c in columns))
                       for tile, about in names])
    return text


def text(call, lines, before=()):
    """The page of one call. `before` are the lines of the first call, whose peers also belong beside the second's."""
    about = next((l["about"] for l in lines if l.get("line") == "about"), None)
    ceilings = next((l for l in [*lines, *before] if l.get("line") == "ceilings" and "gpu_bytes" in l), None)
    torch = [l for l in [*lines, *before] if l.get("line") == "torch"]
    torch_about = next((l for l in [*lines, *before] if l.get("line") == "torch about"), None)
    page = [f"# scripts/bench-gpu, call {call}", ""]
    if about:
        page.append(f"- {about['date']}, {about['adapter']}, {about['device_type']}, {about['driver']} ({about['backend']}), elbow {about['elbow']}")
        if about["software"]:
            page.append("- **SOFTWARE adapter: these times say nothing about a GPU**")
    tuning = dict.fromkeys(f"{l['tuning']}; matrix units {l['matrix_units']}" for l in lines if l.get("line") == "about")
    page += [f"- tuning: {what}" for what in tuning]
    page.append(f"- torch {torch_about['torch']}, CUDA {torch_about['cuda']}, {torch_about['device']}" if torch_about else "- torch: "
                + (torch[0].get("failed", "no answer") if torch else "not asked yet"))
    if ceilings:
        page.append(f"- measured here: copy {ceilings['gpu_bytes'] / 1e9:.4g} GB/s, multiply-add {ceilings['gpu_flops'] / 1e9:.4g} GFLOP/s")
    for line in lines:
        if line.get("line") == "text" and isinstance(line["text"], dict):
            checks, wrong = (sum(g[key] for g in line["text"]["groups"]) for key in ("checks", "failed"))
            page.append(f"- {line['step']}: {checks} checks, " + ("all right" if line["text"]["right"] else f"**{wrong} failed**")
                        + f"; subnormals: {line['text']['subnormals']}; matrix units: {line['text']['matrix_units']}")
    for line in lines:
        if line.get("line") in ("step failed", "skipped"):
            page.append(f"- **{line['step']}: {line['failed']}**")
    page += ["", "Milliseconds (of the device's clock where it has one), median ± half the interquartile range; every case was verified first. In "
             "brackets: the peer's time / elbow's, more than 1 is elbow's win. Error: the largest, as a share of its bound.", ""]
    page += table(["layer", "MxKxN", "elbow", "TFLOP/s", "torch eager, fp32", "torch.compile, fp32", "torch eager, fp16", "error"],
                  layer_rows(lines, torch))
    page += table(["activation alone", "part", "type", "elements", "elbow", "GB/s", "of the copy", "torch copy of as many bytes", "torch eager"],
                  alone_rows(lines, torch, ceilings and ceilings["gpu_bytes"]))
    page += tile_tables(lines)
    for line in lines:
        if line.get("line") == "text" and isinstance(line["text"], str):
            page += [f"## {line['step']}", "", "```text", line["text"].rstrip(), "```", ""]
    return "\n".join(page) + "\n"
