// What an invocation handles at a time: one element, or with WIDE four neighbours of a row.
#if WIDE
alias real = vec4<f32>;
const WIDTH = 4u;
#else
alias real = f32;
const WIDTH = 1u;
#end
