//! Named places at which a test can let the agent die.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// Named places at which a test can let the agent die. Costs one comparison when no test is interested.
///
/// Dying means: whoever reaches the place stops there for ever, and [`Failpoints::died`] returns. The test then drops
/// the agent and starts another on the same directory.
#[derive(Debug, Clone, Default)]
pub struct Failpoints(Option<Arc<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    armed: Mutex<Option<String>>,
    seen: Mutex<Vec<&'static str>>,
    died: Notify,
}

impl Failpoints {
    /// Notes which places are passed; dies nowhere until [`Failpoints::arm`] is called.
    pub fn recording() -> Failpoints {
        Failpoints(Some(Arc::default()))
    }

    /// The next time that this place is reached is the last.
    pub fn arm(&self, name: &str) {
        if let Some(inner) = &self.0 {
            *inner.armed.lock() = Some(name.to_owned());
        }
    }

    /// The places that were passed, each once, in order.
    pub fn seen(&self) -> Vec<&'static str> {
        self.0.as_ref().map(|inner| inner.seen.lock().clone()).unwrap_or_default()
    }

    /// Waits until the armed place was reached.
    pub async fn died(&self) {
        match &self.0 {
            Some(inner) => inner.died.notified().await,
            None => std::future::pending().await,
        }
    }

    /// A place.
    pub(crate) async fn at(&self, name: &'static str) {
        let Some(inner) = &self.0 else { return };
        {
            let mut seen = inner.seen.lock();
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        let dies = inner.armed.lock().take_if(|armed| armed == name).is_some();
        if dies {
            inner.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}
