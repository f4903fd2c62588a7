//! Number formats of printed reports.

use inception_web::head::evaluate::Evaluation;

/// Formats a count with thousands separators: 21802784 -> `21,802,784`.
pub fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

/// Formats an accuracy: `accuracy 48.7 % on 1000 pictures (95 % interval 45.6 to 51.8 %)`.
pub fn accuracy(evaluation: &Evaluation) -> String {
    let [low, high] = evaluation.interval.map(|bound| bound * 100.0);
    let accuracy = evaluation.accuracy * 100.0;
    let total = evaluation.total;
    format!("accuracy {accuracy:.1} % on {total} pictures (95 % interval {low:.1} to {high:.1} %)")
}
