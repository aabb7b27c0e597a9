#!/usr/bin/env python3
"""PyTorch on the work that `elbow bench` does: a line of JSON for each case as soon as it is timed.

    scripts/bench_gpu_torch.py SHAPE[,SHAPE...] [--elements N] [--seconds S] [--quick]

Shapes are MxKxN. fp32 is fp32 (no tf32). Each result is compared with f64 on a sample before it is timed. Times are CUDA events around
enough repetitions for 2 ms, in seconds: median and quartiles. Without CUDA it is torch's CPU and wall time, and the first line says so.
"""
import argparse, json, statistics, sys, time


def quartiles(samples):
    samples = sorted(samples)
    low, median, high = (samples * 3 if len(samples) == 1 else statistics.quantiles(samples, n=4, method="inclusive"))
    return {"median": median, "low": low, "high": high, "samples": len(samples)}


class Clock:
    """CUDA's events, or wall time on the CPU."""

    def __init__(self, torch, quick):
        self.torch, self.cuda = torch, torch.cuda.is_available()
        self.samples, self.seconds = (3, 0.0) if quick else (7, 0.1)

    def once(self, f, repeats):
        if not self.cuda:
            began = time.perf_counter()
            for _ in range(repeats):
                f()
            return (time.perf_counter() - began) / repeats
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            f()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats

    def timing(self, f):
        # A GPU that was idle runs at a low clock.
        until = time.monotonic() + (0.3 if self.cuda else 0.0)
        self.once(f, 3)
        while time.monotonic() < until:
            self.once(f, 3)
        repeats = max(1, min(200, int(2e-3 / max(self.once(f, 1), 1e-7))))
        taken, until = [], time.monotonic() + self.seconds
        while len(taken) < self.samples or (time.monotonic() < until and len(taken) < 500):
            taken.append(self.once(f, repeats))
        return quartiles(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes")
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after so many")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    began = time.monotonic()
    import torch
    functional = torch.nn.functional
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(1)
    clock = Clock(torch, args.quick)
    device = "cuda" if clock.cuda else "cpu"
    name = torch.cuda.get_device_name() if clock.cuda else f"the CPU, {torch.get_num_threads()} threads: no CUDA device"
    print(json.dumps({"line": "torch about", "torch": torch.__version__, "cuda": torch.version.cuda, "device": name}), flush=True)

    def case(op, size, f, verify):
        """Verified, then timed; what fails is a line, not the end."""
        found = {"line": "torch", "op": op, "size": size}
        try:
            if time.monotonic() - began > args.seconds:
                raise TimeoutError("skipped: its time is spent")
            error, bound = verify(f())
            if not error <= bound:
                raise ValueError(f"wrong: error {error:.3g}, bound {bound:.3g}; not timed")
            found.update(error=error, time=clock.timing(f))
        except Exception as problem:  # a compiler that is missing, memory that is not there
            found["failed"] = " ".join(str(problem).split())[:300] or repr(problem)
            if clock.cuda:
                torch.cuda.empty_cache()
        print(json.dumps(found), flush=True)

    def relative(got, want, terms):
        return ((got.double() - want).abs() / terms.clamp_min(1e-30)).max().item()

    def layers(text):
        m, k, n = (int(size) for size in text.split("x"))
        x, w, b, dy = (torch.randn(*shape, device=device) * scale
                       for shape, scale in (((m, k), 1), ((n, k), k ** -0.5), ((n,), 0.1), ((m, n), 1)))
        some = slice(0, min(m, 64))
        z = x[some].double() @ w.double().T + b.double()
        terms = x[some].double().abs() @ w.double().abs().T + b.double().abs()
        judge = lambda want, bound: lambda got: (relative(got[some], want, terms), bound)
        half = [t.half() for t in (x, w, b)]
        with torch.no_grad():
            case("product fp32", text, lambda: functional.linear(x, w, b), judge(z, 1e-5))
            case("product fp16", text, lambda: functional.linear(*half), judge(z, 5e-3))
        for act in ("gelu", "relu"):
            apply = getattr(functional, act)
            layer = lambda x, w, b: apply(functional.linear(x, w, b))
            want = apply(z)
            leaves = [t.clone().requires_grad_(True) for t in (x, w, b)]
            # relu's slope jumps: it is judged on the side of 0 that torch's own z is on.
            zd = (functional.linear(x, w, b)[some].double() if act == "relu" else z.clone()).detach().requires_grad_(True)
            (dz,) = torch.autograd.grad(apply(zd), zd, dy[some].double())
            dx, dx_terms = dz @ w.double(), dz.abs() @ w.double().abs()
            judge_dx = lambda got: (relative(got[0][some], dx, dx_terms), 1e-5)
            for way in ("eager", "compiled"):
                # Past a number of shapes the compiler would quietly give up.
                torch._dynamo.reset()
                run = layer if way == "eager" else torch.compile(layer, dynamic=False)
                with torch.no_grad():
                    case(f"{act} forward {way}", text, lambda: run(x, w, b), judge(want, 1e-5))
                both = lambda: torch.autograd.grad(run(*leaves), leaves, dy)
                case(f"{act} forward + backward {way}", text, both, judge_dx)
            with torch.no_grad():
                case(f"{act} forward fp16 eager", text, lambda: layer(*half), judge(want, 5e-3))

    for text in args.shapes.split(","):
        try:
            layers(text)
        except Exception as problem:  # memory that is not there
            print(json.dumps({"line": "torch", "op": "all", "size": text, "failed": " ".join(str(problem).split())[:300]}), flush=True)
        if clock.cuda:
            torch.cuda.empty_cache()

    x = torch.randn(args.elements, device=device) * 2
    dy, out = torch.randn_like(x), torch.empty_like(x)
    size = str(args.elements)
    same = lambda want: lambda got: (relative(got, want, want.abs().clamp_min(1)), 2e-6)
    with torch.no_grad():
        case("copy", size, lambda: out.copy_(x), same(x.double()))
        case("gelu alone forward", size, lambda: functional.gelu(x), same(functional.gelu(x.double())))
        case("relu alone forward", size, lambda: functional.relu(x), same(functional.relu(x.double())))
        case("gelu alone backward", size, lambda: torch.ops.aten.gelu_backward(dy, x),
             same(torch.ops.aten.gelu_backward(dy.double(), x.double())))
        case("relu alone backward", size, lambda: torch.ops.aten.threshold_backward(dy, x, 0),
             same(torch.ops.aten.threshold_backward(dy.double(), x.double(), 0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
