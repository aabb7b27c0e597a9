// The device's matrices: left and right factors of f16, sums of f32. Four numbers are one place in workgroup memory.
#if MATRIX16
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
#else
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;
#end

const MATRIX4 = MATRIX / 4u;
