//! Makes a failing schedule small: leaves out what is not needed for the failure, in ever smaller
//! pieces.

use crate::plan::{Plan, Step};
use crate::run::{Outcome, run};

/// Runs that a shrinking may take.
const RUNS_MAX: usize = 600;

/// The smallest schedule found that fails, whatever the violation, and what comes of it.
#[must_use]
pub fn shrink(plan: &Plan) -> (Plan, Outcome) {
    shrink_with(plan, &|plan| run(plan))
}

/// The same with another way to run a schedule.
pub(crate) fn shrink_with(plan: &Plan, run: &dyn Fn(&Plan) -> Outcome) -> (Plan, Outcome) {
    let mut best = (plan.clone(), run(plan));
    let mut runs = 1;
    let mut size = plan.steps.len() / 2;
    while size > 0 && runs < RUNS_MAX {
        let mut at = 0;
        let mut is_smaller = false;
        while at < best.0.steps.len() && runs < RUNS_MAX {
            let smaller = without(&best.0, at, size);
            let outcome = run(&smaller);
            runs += 1;
            if outcome.violation.is_some() {
                best = (smaller, outcome);
                is_smaller = true;
            } else {
                at += size;
            }
        }
        // Once more at the finest grain if that helped: what is gone may have held others.
        if size > 1 || !is_smaller {
            size /= 2;
        }
    }
    best
}

fn without(plan: &Plan, at: usize, size: usize) -> Plan {
    let kept =
        |(number, step): (usize, &Step)| (number < at || number >= at + size).then(|| step.clone());
    Plan {
        steps: plan.steps.iter().enumerate().filter_map(kept).collect(),
        ..plan.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_what_is_needed_is_left() {
        let plan = Plan::of(1);
        let needed = [plan.steps[3].clone(), plan.steps[40].clone()];
        let fails = |plan: &Plan| Outcome {
            violation: needed
                .iter()
                .all(|step| plan.steps.contains(step))
                .then(String::new),
            trace: Vec::new(),
            machines: Vec::new(),
            hash: 0,
            counts: BTreeMap::new(),
        };
        let (small, outcome) = shrink_with(&plan, &fails);
        assert_eq!(small.steps, needed);
        assert!(outcome.violation.is_some());
    }
}
