//! `summary`: a network's layers as a table, and what its forward pass on a GPU costs.

use inception_web::{
    compare::ModelKind,
    net::{inception::table, roofline},
};

use super::{files::Outcome, output::thousands};

/// Prints the net as `model.summary()` of Keras does; the base is frozen, so nothing is trainable.
#[derive(clap::Args)]
pub struct Args {
    /// inception, mlp, cnn or transfer (the head that `compare` trains)
    #[arg(default_value = "inception", value_parser = ["inception", "mlp", "cnn", "transfer"])]
    network: String,
    /// How many classes the trained networks tell apart
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// What each dispatch of Inception's forward on a GPU computes and moves, and the time that this predicts on published GPUs
    #[arg(long)]
    gpu: bool,
    /// Pictures in that forward
    #[arg(long, value_name = "N", default_value_t = 1, requires = "gpu")]
    batch: usize,
}

/// Prints the forward on a GPU, dispatch by dispatch.
fn print_roofline(pictures: usize) {
    let rows = roofline::rows(pictures);
    let mega = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "{:<40} {:>14} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "Dispatch",
        "Output",
        "Tile",
        "MMAC",
        "MB read",
        "written",
        "least",
        "FLOP/B",
        "invocations"
    );
    for row in &rows {
        let tile = row.tile.map_or(String::new(), |[pixels, channels, split]| {
            let shared = if split > 1 {
                format!("/{split}")
            } else {
                String::new()
            };
            format!("{pixels}x{channels}{shared}")
        });
        println!(
            "{:<40} {:>14} {tile:>7} {:>8.1} {:>8.2} {:>8.2} {:>8.2} {:>8.1} {:>10}",
            row.name,
            row.output.map(|size| size.to_string()).join("x"),
            row.macs as f64 / 1e6,
            mega(row.read),
            mega(row.written),
            mega(row.least),
            row.intensity(),
            row.invocations,
        );
    }
    let sum = |of: fn(&roofline::Row) -> usize| rows.iter().map(of).sum::<usize>();
    println!(
        "{} dispatches, {} picture(s): {:.2} GMAC ({:.2} with the tiles' edges), {:.0} MB read, {:.0} MB written, {:.0} MB at least",
        rows.len(),
        pictures,
        sum(|row| row.macs) as f64 / 1e9,
        sum(|row| row.done) as f64 / 1e9,
        mega(sum(|row| row.read)),
        mega(sum(|row| row.written)),
        mega(sum(|row| row.least)),
    );
    for card in &roofline::CARDS {
        let milliseconds = |of: fn(&roofline::Row, &roofline::Card) -> f64| {
            rows.iter().map(|row| of(row, card)).sum::<f64>() * 1e3
        };
        println!(
            "{} ({:.2} TFLOPS, {:.0} GB/s; {}): {:.1} ms by the roofline, {:.1} ms by these kernels if caches keep what workgroups share, {:.1} ms if they keep nothing",
            card.name,
            card.flops / 1e12,
            card.bandwidth / 1e9,
            card.source,
            milliseconds(roofline::Row::roofline),
            milliseconds(roofline::Row::quickest),
            milliseconds(roofline::Row::slowest),
        );
    }
}

pub fn run(args: &Args) -> Outcome {
    if args.gpu {
        print_roofline(args.batch.max(1));
        return Ok(());
    }
    let way = ModelKind::ALL
        .into_iter()
        .find(|way| way.id() == args.network);
    let (title, rows) = match way {
        None => ("\"inception_v3\" without its top".into(), table()),
        Some(way) => (format!("{:?}", way.name()), way.table(args.classes)),
    };
    let line = "─".repeat(84);
    println!("Model: {title}\n{line}");
    println!(
        "{:<52} {:<18} {:>12}\n{line}",
        "Layer (type)", "Output shape", "Param #"
    );
    for row in &rows {
        let shape: Vec<_> = row.output.iter().map(usize::to_string).collect();
        let layer = format!("{} ({})", row.name, row.class);
        println!(
            "{layer:<52} {:<18} {:>12}",
            format!("(None, {})", shape.join(", ")),
            thousands(row.parameters)
        );
    }
    let count: usize = rows.iter().map(|row| row.parameters).sum();
    let (trained, frozen) = match way {
        None => (0, count),
        Some(way) => (count, way.frozen_parameters()),
    };
    println!(
        "{line}\nTotal params: {}\nTrainable params: {}\nNon-trainable params: {}",
        sized(trained + frozen),
        sized(trained),
        sized(frozen)
    );
    Ok(())
}

/// Parameters, and the memory that they take as f32, in Keras's units.
fn sized(parameters: usize) -> String {
    let (mut size, mut unit) = ((parameters * 4) as f64, "B");
    for larger in ["KB", "MB"] {
        if size >= 1024.0 {
            (size, unit) = (size / 1024.0, larger);
        }
    }
    format!("{} ({size:.2} {unit})", thousands(parameters))
}
