//! Several sizes at once beside each alone.

use std::path::Path;

use crate::peers;

/// The highest rung.
pub(crate) const LINES_MAX: u32 = 720;
const RUNGS: [&str; 3] = ["720p", "540p", "360p"];

/// Print wall and CPU seconds of the ladder and of its rungs; medians.
pub(crate) fn measure(source: &Path, speed: u32, runs: usize) -> anyhow::Result<()> {
    let mut cases = vec![RUNGS.join(",")];
    cases.extend(RUNGS.map(str::to_owned));
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..runs {
        // In turn, so that a slow minute of the machine hits all.
        for (case, times) in cases.iter().zip(&mut times) {
            times.push(peers::cost(source, speed, case)?);
        }
    }
    println!("rungs            wall s   CPU s");
    let mut medians = Vec::new();
    for (case, mut times) in cases.iter().zip(times) {
        times.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (wall, cpu) = times.get(times.len() / 2).copied().unwrap_or_default();
        println!("{case:15} {wall:7.1} {cpu:7.1}");
        medians.push((wall, cpu));
    }
    if let Some(((wall, cpu), alone)) = medians.split_first() {
        let sum = |of: fn(&(f64, f64)) -> f64| alone.iter().map(of).sum::<f64>();
        println!(
            "ladder / sum     {:7.2} {:7.2}",
            wall / sum(|times| times.0),
            cpu / sum(|times| times.1)
        );
    }
    Ok(())
}
