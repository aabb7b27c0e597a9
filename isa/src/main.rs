//! `elbow-isa`
mod disassembly;
mod failure;
mod kernels;
mod radv;
mod spirv;

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<(), failure::Failure> {
    let radv = radv::Radv::open()?;
    println!("{} {}", radv.driver, radv.chip);
    let filter = std::env::args().nth(1).unwrap_or_default();
    let all = kernels::all()?;
    println!("{}", all.len());
    for named in all.iter().filter(|named| named.name.contains(&filter)) {
        let start = std::time::Instant::now();
        let words = spirv::write(&named.text)?;
        let naga = start.elapsed();
        let code = radv.compile(&words, &named.buffers())?;
        let text = disassembly::Disassembly::parse(&code.assembly);
        println!("{} | {:?} {:?} wave {} | {} stores {}/{} {:?} | {:?}", named.name, naga, start.elapsed() - naga, code.wave, text.instructions(), text.stored_bytes(), named.bytes_an_element(), text.reduction(), code.statistics);
        if std::env::var("DUMP").is_ok() { println!("{}", code.assembly) }
    }
    Ok(())
}
