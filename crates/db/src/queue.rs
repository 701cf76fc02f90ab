//! A queue between the async world and the database's threads.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;

/// Many senders, many receivers; closed once, drained before the receivers end.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { state: Mutex::new(State { items: VecDeque::new(), closed: false }), filled: Condvar::new() }
    }

    /// Gives the item back if the queue is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for one item; `None` once closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
    }

    /// Waits for at least one item and takes up to `most`; empty once closed and empty.
    pub(crate) fn pop_many(&self, most: usize) -> Vec<T> {
        let mut state = self.state.lock();
        loop {
            if !state.items.is_empty() {
                let count = state.items.len().min(most);
                return state.items.drain(..count).collect();
            }
            if state.closed {
                return Vec::new();
            }
            self.filled.wait(&mut state);
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }
}
