//! The program: arguments → telemetry → config → run → exit status.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let path = std::env::args().skip(2).last().unwrap_or_else(|| "config/pointsman.toml".into());
    let config = match pointsman::config::load(path.as_ref()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            std::process::exit(2);
        }
    };
    if let Err(error) = pointsman::app::run(config) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
