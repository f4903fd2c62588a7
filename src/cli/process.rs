//! Runs external programs.

use std::process::Command;

use super::result::CliResult;

/// Runs a program that inherits the terminal, and fails unless it exits with status 0; `hint` says what to do if it cannot be started.
pub fn run_checked(command: &mut Command, hint: &str) -> CliResult {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} failed ({status}); see its output above").into()),
        Err(error) => Err(format!("cannot start {program} ({error}); {hint}").into()),
    }
}
