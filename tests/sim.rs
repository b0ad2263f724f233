//! The whole controller in a simulated cluster where everything goes wrong, decided by a seed.
//! `SIM_SEED=n` replays one run, `SIM_SEEDS=n` makes so many.

use std::collections::BTreeMap;

use zen_sim::{Outcome, Plan, run};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn whatever_goes_wrong_comes_right() {
    let seeds: Vec<u64> = match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = number("SIM_FIRST").unwrap_or(1);
            (first..first + number("SIM_SEEDS").unwrap_or(200)).collect()
        }
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in seeds {
        let outcome = run(&Plan::of(seed));
        for (what, count) in &outcome.counts {
            *counts.entry(what.clone()).or_default() += count;
        }
        if let Some(what) = &outcome.violation {
            println!("seed {seed}: {what}");
            failed.push((seed, outcome));
            if failed.len() >= 20 {
                break;
            }
        }
    }
    for (what, count) in &counts {
        println!("{count:>8} {what}");
    }
    if let Some((
        seed,
        Outcome {
            violation, trace, ..
        },
    )) = failed.first()
    {
        panic!(
            "seed {seed}: {}\n{}",
            violation.as_deref().unwrap_or_default(),
            trace.join("\n")
        );
    }
}
