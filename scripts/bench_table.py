#!/usr/bin/env python3
"""Joins what scripts/bench-gpu measured: one JSON and one Markdown table, elbow against its peers.

    scripts/bench_table.py FOLDER

Reads bench-*.json (one for each shape) and, where they are there, verify.json, torch.json and tune.txt; writes bench-gpu.json and
bench-gpu.md.
"""
import json, pathlib, sys


def load(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def ms(timing):
    if not timing or "median" not in timing:
        return "–"
    spread = 50 * (timing["high"] - timing["low"]) / timing["median"] if timing["median"] else 0
    return f"{1e3 * timing['median']:.4g} ±{spread:.0f}%"


def total(*timings):
    """Of parts that were timed one by one: sums of medians and of quartiles."""
    return {key: sum(t[key] for t in timings) for key in ("median", "low", "high")}


def main():
    folder = pathlib.Path(sys.argv[1])
    verify, torch = (load(folder / f"{name}.json") for name in ("verify", "torch"))
    tune = folder / "tune.txt"
    benches = [bench for path in sorted(folder.glob("bench-*.json")) if (bench := load(path)) and "layers" in bench]
    if not benches:
        sys.exit("elbow bench left no JSON")
    # What is not the shape's is the same in all of them: the first one's is taken.
    bench = {**benches[0], "layers": [layer for bench in benches for layer in bench["layers"]]}
    about, ceilings = bench["about"], bench["ceilings"]
    device = lambda part: part["gpu_device"] or part["gpu_wall"]
    peer = {(r["op"], r["size"]): r for r in (torch or {}).get("results", [])}
    rows = []

    def row(what, size, elbow, op, peer_name, work=None, unit=None):
        other = peer.get((op, size))
        # Without the peer, once is enough.
        if other is None and any(r[:2] == (what, size) for r in rows):
            return
        rate = f"{work / elbow['median']:.4g} {unit}" if work else ""
        ratio = f"{other['median'] / elbow['median']:.2f}" if other and "median" in other else "–"
        note = ms(other) if not (other and "failed" in other) else "failed: " + other["failed"][:60]
        rows.append((what, size, ms(elbow), rate, peer_name if other else "–", note, ratio))

    for layer in bench["layers"]:
        size = f"{layer['m']}x{layer['k']}x{layer['n']}"
        parts = {part["part"]: part for part in layer["parts"]}
        flops = parts["forward"]["operations"] / 1e9
        if layer["activation"] == "identity":
            row("fp32 product (+ b)", size, layer["fused"], "matmul", "torch matmul (cuBLAS) fp32", flops, "GFLOP/s")
            row("fp32 product (+ b)", size, layer["fused"], "matmul half", "torch matmul half", flops, "GFLOP/s")
        elif layer["activation"].startswith("gelu"):
            row("linear + gelu", size, layer["fused"], "linear gelu", "torch eager", flops, "GFLOP/s")
            row("linear + gelu", size, layer["fused"], "linear gelu compiled", "torch.compile", flops, "GFLOP/s")
            both = total(device(parts["forward"]), device(parts["backward"]))
            row("forward + backward", size, both, "linear gelu both", "torch eager", 3 * flops, "GFLOP/s")
            row("forward + backward", size, both, "linear gelu both compiled", "torch.compile", 3 * flops, "GFLOP/s")
    for alone in bench["alone"]:
        name, size = alone["activation"].split("(")[0], str(alone["elements"])
        name = "gelu" if name.startswith("gelu") else name
        op = name if alone["part"] == "forward" else f"{name} {alone['part']}"
        if name != "identity":
            rate = alone["bytes"] / 1e9
            row(f"{name} {alone['part']}", size, device(alone), op, "torch eager", rate, "GB/s")
            # The same bytes at the speed of a copy.
            if (copy := peer.get(("copy", size))) and "median" in copy:
                scale = alone["bytes"] / (8 * alone["elements"])
                peer[("scaled copy", size)] = {key: scale * copy[key] for key in ("median", "low", "high")}
                row(f"{name} {alone['part']}", size, device(alone), "scaled copy", "torch copy of as many bytes", rate, "GB/s")

    groups = (verify or {}).get("groups", [])
    checks, wrong = (sum(group[key] for group in groups) for key in ("checks", "failed"))
    judged = "not run" if verify is None else ("all right" if verify["right"] else f"**{wrong} of them failed**")
    lines = [
        f"# elbow against its peers, {about['date']}",
        "",
        f"- adapter: {about['adapter']}, {about['device_type']}, {about['driver']} ({about['backend']})",
        f"- elbow {about['elbow']}: `{about['command']}`; `elbow verify`: {checks} checks, {judged}",
        f"- peers: torch {torch['torch']}, CUDA {torch['cuda']}, {torch['device']}" if torch else "- peers: none ran: torch with CUDA is not here",
        f"- ceilings measured in the same run: copy {ceilings['gpu_bytes'] / 1e9:.4g} GB/s, multiply-add {ceilings['gpu_flops'] / 1e9:.4g} GFLOP/s",
    ]
    copies = [r for r in (torch or {}).get("results", []) if r["op"] == "copy" and "median" in r]
    lines += [f"- torch's copy: {8 * int(r['size']) / r['median'] / 1e9:.4g} GB/s" for r in copies]
    if about["software"]:
        lines.append("- **SOFTWARE adapter: these times say nothing about a GPU**")
    lines += [
        "",
        "Milliseconds of device time, median ± half the interquartile range; every case was verified against f64 before it was timed. "
        "Ratio: peer's time / elbow's time, more than 1 is elbow's win.",
        "",
        "| work | size | elbow | rate | peer | peer's time | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    (folder / "bench-gpu.json").write_text(json.dumps(
        {"verify": verify, "bench": bench, "torch": torch, "tune": tune.read_text() if tune.exists() else None}, indent=1) + "\n")
    (folder / "bench-gpu.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
