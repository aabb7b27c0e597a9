// What an invocation handles at a time: one element, or with WIDE four neighbours of a row. And a pair of running sums.
#if WIDE
alias real = vec4<f32>;
const WIDTH = 4u;
#else
alias real = f32;
const WIDTH = 1u;
#end
struct Sums {
    db: real,
    dalpha: real,
}

fn plus(a: Sums, b: Sums) -> Sums {
    return Sums(a.db + b.db, a.dalpha + b.dalpha);
}
