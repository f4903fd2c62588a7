//! Runs external programs.

use std::process::Command;

use super::result::CliResult;

/// Runs a program in this terminal.
///
/// # Errors
/// The program cannot be started, with `hint` as advice, or its exit status is not 0.
pub fn run_checked(command: &mut Command, hint: &str) -> CliResult {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} failed ({status}); see its output above").into()),
        Err(error) => Err(format!("cannot start {program} ({error}); {hint}").into()),
    }
}
