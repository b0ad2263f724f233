//! Tables over the state machine; every row reads as a sentence and names its contract section.

mod follow;
mod followers;
pub(in crate::logic) mod matrix;
mod ops;
mod record;
mod story;

use super::*;
use crate::logic::elect::Hold;

fn serving(hold: Hold) -> Phase {
    Phase::Serving(Serving {
        uid: "u".into(),
        pod: "a".into(),
        since: Moment(0),
        hold,
    })
}

#[test]
fn only_the_edges_of_the_diagram_are_legal() {
    let phases = [
        Phase::Unmanaged,
        Phase::Electing,
        serving(Hold::Firm),
        Phase::Draining,
    ];
    // Rows: from; columns: to; in the order above.
    let legal = [
        [false, true, false, false],
        [false, false, true, true],
        [false, true, true, true],
        [true, true, false, false],
    ];
    for (from, row) in phases.iter().zip(legal) {
        for (to, legal) in phases.iter().zip(row) {
            assert_eq!(
                from.may_become(to),
                legal,
                "from {} to {}",
                from.name(),
                to.name()
            );
        }
    }
}
