//! The `outboxd` binary: see [`outboxd::cli`].

fn main() -> std::process::ExitCode {
    outboxd::cli::main()
}
