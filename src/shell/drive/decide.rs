//! One step of one machine, with what it has to know of the others. That is kept here and goes
//! into the step as plain values.

use parking_lot::Mutex;

use super::{Cell, Drive};
use crate::logic::fsm::{Cause, Context, Step};
use crate::logic::spread::{Others, Spread};
use crate::logic::time::Now;
use crate::logic::view::View;

/// What is true of all Services together.
#[derive(Default)]
pub(super) struct Together {
    /// Which node leads how many. Locked for one step, after its machine and never across an
    /// await.
    spread: Mutex<Spread>,
}

impl Drive {
    /// Steps one machine, which is `cell`'s no more until its successor is put there.
    pub(super) fn decide(
        &self,
        cell: &mut Cell,
        view: &View,
        is_over_limit: bool,
        cause: Cause,
        now: Now,
    ) -> Step {
        let mut spread = self.together.spread.lock();
        let context = Context {
            mirror: &self.settings.mirror,
            is_over_limit,
            others: Others {
                spread: &spread,
                own: cell.node.as_ref(),
            },
            cause,
        };
        let step = std::mem::take(&mut cell.machine).step(view, &context, now);
        let node = step.goal.leader_node();
        if cell.node.as_ref() != node {
            spread.moved(cell.node.as_ref(), node);
            cell.node = node.cloned();
        }
        step
    }
}
