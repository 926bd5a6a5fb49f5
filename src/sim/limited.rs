//! A source that ends early, so that a run is short: after some rows, or, if its input never ends, when there is no more of
//! it for now.

use std::sync::Arc;

use piton_actors::blueprint::SourceBlueprint;
use piton_actors::host::{AnySource, BoxFuture, Polled};
use piton_actors::{Error, Progress, Result, Scatter, Subtask, WindowId};
use serde::{Deserialize, Serialize};

/// An input without end of which nothing has come so many times in a row has no more: a file that is followed, say.
const EMPTY_POLLS: u32 = 32;

/// Returns the blueprint with sources that end after so many rows, each for itself.
pub(crate) fn limited(blueprint: SourceBlueprint, rows: u64) -> SourceBlueprint {
    let (make, most_empty) = (blueprint.make, if blueprint.endless { EMPTY_POLLS } else { u32::MAX });
    let make = move |batch| -> Result<Box<dyn AnySource>> {
        Ok(Box::new(Limited { inner: make(batch)?, left: rows, rows, most_empty, empty: 0 }))
    };
    SourceBlueprint { make: Arc::new(make), ..blueprint }
}

/// Where it stands: behind so many rows.
#[derive(Serialize, Deserialize)]
struct Position {
    taken: u64,
    #[serde(with = "serde_bytes")]
    inner: Vec<u8>,
}

struct Limited {
    inner: Box<dyn AnySource>,
    left: u64,
    rows: u64,
    most_empty: u32,
    /// How often it has had nothing since its last row.
    empty: u32,
}

impl Limited {
    fn trim(&mut self, mut polled: Polled) -> Result<Polled> {
        let mut batches = Vec::new();
        for batch in polled.batches {
            let taken = self.left.min(batch.len() as u64);
            self.left -= taken;
            match taken {
                0 => {}
                _ if taken == batch.len() as u64 => batches.push(batch),
                _ => batches.push(batch.slice(0..taken as usize)),
            }
        }
        // What is behind the last row is never asked for.
        let position = Position { taken: self.rows - self.left, inner: polled.position };
        polled.position = rmp_serde::to_vec_named(&position)?;
        let has_none = batches.is_empty() && matches!(polled.progress, Ok(Progress::Idle(_)));
        self.empty = if has_none { self.empty.saturating_add(1) } else { 0 };
        if self.left == 0 || self.empty >= self.most_empty {
            polled.progress = polled.progress.map(|_| Progress::Done);
        }
        Ok(Polled { batches, ..polled })
    }
}

type Back<T> = (Box<dyn AnySource>, Result<T>);

impl AnySource for Limited {
    fn open(mut self: Box<Self>, position: Option<Vec<u8>>, subtask: Subtask) -> BoxFuture<Back<()>> {
        Box::pin(async move {
            let position = position.map(|bytes| rmp_serde::from_slice::<Position>(&bytes)).transpose();
            let position = match position {
                Ok(position) => position,
                Err(error) => return (self as Box<dyn AnySource>, Err(Error::from(error))),
            };
            self.left = self.rows - position.as_ref().map_or(0, |position| position.taken.min(self.rows));
            let Limited { inner, left, rows, most_empty, .. } = *self;
            let (inner, opened) = inner.open(position.map(|position| position.inner), subtask).await;
            (Box::new(Limited { inner, left, rows, most_empty, empty: 0 }) as Box<dyn AnySource>, opened)
        })
    }

    fn poll(self: Box<Self>) -> BoxFuture<Back<Polled>> {
        Box::pin(async move {
            let Limited { inner, left, rows, most_empty, empty } = *self;
            let (inner, polled) = inner.poll().await;
            let mut limited = Limited { inner, left, rows, most_empty, empty };
            let polled = polled.and_then(|polled| limited.trim(polled));
            (Box::new(limited) as Box<dyn AnySource>, polled)
        })
    }

    fn committed(self: Box<Self>, window: WindowId, position: Vec<u8>) -> BoxFuture<Back<()>> {
        Box::pin(async move {
            let position = match rmp_serde::from_slice::<Position>(&position) {
                Ok(position) => position,
                Err(error) => return (self as Box<dyn AnySource>, Err(Error::from(error))),
            };
            let Limited { inner, left, rows, most_empty, empty } = *self;
            let (inner, told) = inner.committed(window, position.inner).await;
            (Box::new(Limited { inner, left, rows, most_empty, empty }) as Box<dyn AnySource>, told)
        })
    }

    fn replayable(&self) -> bool {
        self.inner.replayable()
    }

    fn scatter(&self, channels: usize, rows: usize) -> Box<dyn Scatter> {
        self.inner.scatter(channels, rows)
    }
}
