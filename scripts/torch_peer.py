#!/usr/bin/env python3
"""PyTorch on CUDA, on the work that `elbow bench` does: JSON on stdout.

    scripts/torch_peer.py SHAPE[,SHAPE...] [--elements N] [--seconds S] [--quick]

Shapes are MxKxN. fp32 is fp32 (no tf32). Each result is compared with f64 on a sample before it is timed. Times are CUDA
events around enough repetitions for 2 ms, in seconds: median and quartiles. Exit code 3 where there is no CUDA device.
"""
import argparse, json, statistics, sys, time


def quartiles(samples):
    samples = sorted(samples)
    low, median, high = (samples * 3 if len(samples) == 1 else statistics.quantiles(samples, n=4, method="inclusive"))
    return {"median": median, "low": low, "high": high, "samples": len(samples)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes")
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after so many")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    try:
        import torch
    except Exception:  # not there, or without the libraries that it needs
        print("torch is not importable", file=sys.stderr)
        return 3
    if not torch.cuda.is_available():
        print("torch sees no CUDA device", file=sys.stderr)
        return 3
    F = torch.nn.functional
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(1)
    samples, seconds = (5, 0.05) if args.quick else (15, 0.2)
    began = time.monotonic()

    def events(f, repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(repeats):
            f()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats

    def timing(f):
        for _ in range(3):
            f()
        torch.cuda.synchronize()
        repeats = max(1, min(200, int(2e-3 / max(events(f, 1), 1e-7))))
        taken, until = [], time.monotonic() + seconds
        while len(taken) < samples or (time.monotonic() < until and len(taken) < 500):
            taken.append(events(f, repeats))
        return quartiles(taken)

    results = []

    def case(op, size, f, verify):
        """Verified, then timed; what fails is a line, not the end."""
        try:
            if time.monotonic() - began > args.seconds:
                raise TimeoutError("no time was left")
            error, bound = verify(f())
            if not error <= bound:
                raise ValueError(f"wrong: error {error:.3g}, bound {bound:.3g}; not timed")
            results.append({"op": op, "size": size, "error": error, **timing(f)})
        except Exception as problem:  # a compiler that is missing, memory that is not there
            torch.cuda.empty_cache()
            results.append({"op": op, "size": size, "failed": " ".join(str(problem).split())[:300]})
        print(f"torch {op} {size}: {results[-1].get('failed') or '%.3f ms' % (1e3 * results[-1]['median'])}", file=sys.stderr)

    def relative(got, want, terms):
        return ((got.double() - want).abs() / terms.clamp_min(1e-30)).max().item()

    for text in args.shapes.split(","):
        # Past a number of shapes the compiler would quietly give up.
        torch._dynamo.reset()
        m, k, n = (int(size) for size in text.split("x"))
        x, w, b, dy = (torch.randn(*shape, device="cuda") * scale
                       for shape, scale in (((m, k), 1), ((n, k), k ** -0.5), ((n,), 0.1), ((m, n), 1)))
        some = slice(0, min(m, 64))
        z = x[some].double() @ w.double().T + b.double()
        terms = x[some].double().abs() @ w.double().abs().T + b.double().abs()
        judge = lambda want, scale, bound: lambda got: (relative(got[some], want, scale), bound)
        y = F.gelu(z)
        with torch.no_grad():
            linear = lambda x, w, b: F.linear(x, w, b)
            layer = lambda x, w, b: F.gelu(F.linear(x, w, b))
            case("matmul", text, lambda: torch.matmul(x, w.T), judge(z - b.double(), terms, 1e-5))
            xh, wh = x.half(), w.half()
            case("matmul half", text, lambda: torch.matmul(xh, wh.T), judge(z - b.double(), terms, 5e-3))
            case("linear gelu", text, lambda: layer(x, w, b), judge(y, terms, 1e-5))
            compiled = torch.compile(layer, dynamic=False)
            case("linear gelu compiled", text, lambda: compiled(x, w, b), judge(y, terms, 1e-5))
        leaves = [t.clone().requires_grad_(True) for t in (x, w, b)]
        zd = z.clone().requires_grad_(True)
        (dz,) = torch.autograd.grad(F.gelu(zd), zd, dy[some].double())
        dx, dx_terms = dz @ w.double(), dz.abs() @ w.double().abs()
        judge_dx = lambda got: (relative(got[0][some], dx, dx_terms), 1e-5)
        gradients = lambda f: torch.autograd.grad(f(*leaves), leaves, dy)
        case("linear gelu both", text, lambda: gradients(layer), judge_dx)
        compiled_both = torch.compile(layer, dynamic=False)
        case("linear gelu both compiled", text, lambda: gradients(compiled_both), judge_dx)
        torch.cuda.empty_cache()

    x = torch.randn(args.elements, device="cuda") * 2
    dy, out = torch.randn_like(x), torch.empty_like(x)
    size = str(args.elements)
    same = lambda want: lambda got: (relative(got, want, want.abs().clamp_min(1)), 2e-6)
    with torch.no_grad():
        case("copy", size, lambda: out.copy_(x), same(x.double()))
        case("gelu", size, lambda: F.gelu(x), same(F.gelu(x.double())))
        case("relu", size, lambda: F.relu(x), same(F.relu(x.double())))
        case("gelu backward", size, lambda: torch.ops.aten.gelu_backward(dy, x),
             same(torch.ops.aten.gelu_backward(dy.double(), x.double())))
    json.dump({"torch": torch.__version__, "device": torch.cuda.get_device_name(), "cuda": torch.version.cuda,
               "seconds": round(time.monotonic() - began, 1), "results": results}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
