// Storage in f32: what is stored is what is computed with.
alias elem = f32;
alias elem4 = vec4<f32>;
