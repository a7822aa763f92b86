//! One figure.

use serde::Serialize;

/// One figure, with the goal that it is measured against.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) goal: Option<&'static str>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, goal: None }
    }

    pub(crate) fn goal(mut self, goal: &'static str) -> Self {
        self.goal = Some(goal);
        self
    }
}
