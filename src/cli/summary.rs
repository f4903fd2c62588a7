//! `summary`: prints a network's layers like Keras, or the cost of its forward pass on a GPU.

use inception_web::{
    compare::ModelKind,
    net::{inception::table, roofline},
};

use super::{output::thousands, result::CliResult};

#[derive(clap::Args)]
pub struct Args {
    /// Network: inception, mlp, cnn or transfer (the three models of `compare`)
    #[arg(default_value = "inception", value_parser = ["inception", "mlp", "cnn", "transfer"])]
    network: String,
    /// Number of classes of mlp, cnn and transfer
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Print the cost of each GPU dispatch of Inception's forward pass, and the predicted times on several GPUs
    #[arg(long)]
    gpu: bool,
    /// Batch size of that forward pass
    #[arg(long, value_name = "N", default_value_t = 1, requires = "gpu")]
    batch: usize,
}

pub fn run(args: &Args) -> CliResult {
    if args.gpu {
        print_roofline(args.batch.max(1));
        return Ok(());
    }
    let model = ModelKind::ALL
        .into_iter()
        .find(|model| model.id() == args.network);
    let (title, rows) = match model {
        None => ("\"inception_v3\" without its classifier".into(), table()),
        Some(model) => (format!("{:?}", model.name()), model.table(args.classes)),
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
    let (trained, frozen) = match model {
        None => (0, count),
        Some(model) => (count, model.frozen_parameters()),
    };
    println!(
        "{line}\nTotal params: {}\nTrainable params: {}\nNon-trainable params: {}",
        with_size(trained + frozen),
        with_size(trained),
        with_size(frozen)
    );
    Ok(())
}

/// Prints what each dispatch of the forward pass computes and moves, and the predicted times.
fn print_roofline(batch: usize) {
    let rows = roofline::rows(batch);
    let mega = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "{:<40} {:>14} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "Dispatch",
        "Output",
        "Tile",
        "MMAC",
        "MB read",
        "written",
        "minimum",
        "FLOP/B",
        "invocations"
    );
    for row in &rows {
        let tile = row.tile.map_or(String::new(), |[pixels, channels, split]| {
            let split = if split > 1 {
                format!("/{split}")
            } else {
                String::new()
            };
            format!("{pixels}x{channels}{split}")
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
        "{} dispatches, batch size {}: {:.2} GMAC ({:.2} with tile padding), {:.0} MB read, {:.0} MB written, {:.0} MB minimum traffic",
        rows.len(),
        batch,
        sum(|row| row.macs) as f64 / 1e9,
        sum(|row| row.done) as f64 / 1e9,
        mega(sum(|row| row.read)),
        mega(sum(|row| row.written)),
        mega(sum(|row| row.least)),
    );
    for gpu in &roofline::REFERENCE_GPUS {
        let milliseconds = |of: fn(&roofline::Row, &roofline::GpuSpec) -> f64| {
            rows.iter().map(|row| of(row, gpu)).sum::<f64>() * 1e3
        };
        println!(
            "{} ({:.2} TFLOPS, {:.0} GB/s; {}): roofline {:.1} ms, these kernels {:.1} ms if all reads shared by workgroups hit the cache, {:.1} ms if none do",
            gpu.name,
            gpu.flops / 1e12,
            gpu.bandwidth / 1e9,
            gpu.source,
            milliseconds(roofline::Row::roofline),
            milliseconds(roofline::Row::quickest),
            milliseconds(roofline::Row::slowest),
        );
    }
}

/// Formats a parameter count with its size in memory as f32, in Keras's units.
fn with_size(parameters: usize) -> String {
    let (mut size, mut unit) = ((parameters * 4) as f64, "B");
    for larger in ["KB", "MB"] {
        if size >= 1024.0 {
            (size, unit) = (size / 1024.0, larger);
        }
    }
    format!("{} ({size:.2} {unit})", thousands(parameters))
}
