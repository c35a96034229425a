//! `kv` where several gateways keep it in common: the same interface as in `store`, whose functions do not wait. It is
//! linked by hand, so that a filter whose keys are here pays nothing for those whose keys are elsewhere.
//!
//! While a filter is loaded nobody is asked, and a filter in shadow leaves what is there as it is: what they write lies in
//! memory.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::store::{kv_error, millis};
use super::{PACKAGE, VERSION};
use crate::filter::bindings::wasmilter::filter::kv::Error;
use crate::filter::bounds::Pause;
use crate::filter::guest::Guest;
use crate::filter::profile::Profile;
use crate::shared::{Keys, Unavailable};
use crate::state::kv::{KV_KEY_BYTES_MAX, Kv, KvError};

type Value = Option<Vec<u8>>;
/// What a filter hears.
type Said<T> = std::result::Result<T, Error>;

/// In place of what is generated for `kv`.
///
/// # Errors
/// None in practice: the interface would have to be linked already.
pub(super) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    let mut kv = linker.instance(&format!("{PACKAGE}/kv@{VERSION}"))?;
    kv.func_wrap_async("get", |mut store: StoreContextMut<'_, Guest>, (key,): (String,)| {
        let asked = Asked::by(store.data_mut());
        Box::new(async move { Ok((asked?.get(&key).await?,)) })
    })?;
    kv.func_wrap_async(
        "set",
        |mut store: StoreContextMut<'_, Guest>, (key, value, ttl): (String, Vec<u8>, Option<u32>)| {
            let asked = Asked::by(store.data_mut());
            Box::new(async move { Ok((asked?.set(&key, value, ttl.map(millis)).await?,)) })
        },
    )?;
    kv.func_wrap_async("delete", |mut store: StoreContextMut<'_, Guest>, (key,): (String,)| {
        let asked = Asked::by(store.data_mut());
        Box::new(async move { Ok((asked?.delete(&key).await?,)) })
    })?;
    kv.func_wrap_async(
        "swap",
        |mut store: StoreContextMut<'_, Guest>, (key, old, value, ttl): (String, Value, Vec<u8>, Option<u32>)| {
            let asked = Asked::by(store.data_mut());
            Box::new(async move { Ok((asked?.swap(&key, old, value, ttl.map(millis)).await?,)) })
        },
    )
}

/// A question of a filter.
struct Asked {
    profile: Arc<Profile>,
    pause: Pause,
    place: Place,
    now: Instant,
}

/// Who has the keys.
enum Place {
    Memory,
    Elsewhere(Keys),
    /// There, for reading; what is written lies in memory over it.
    Over(Keys),
}

impl Asked {
    fn by(guest: &mut Guest) -> Result<Asked> {
        let trial = guest.work()?.is_trial();
        let (profile, pause) = (Arc::clone(&guest.profile), guest.pause());
        let place = match &profile.outside.keys {
            Some(keys) if !trial && profile.config.shadow => Place::Over(keys.clone()),
            Some(keys) if !trial => Place::Elsewhere(keys.clone()),
            _ => Place::Memory,
        };
        let now = profile.outside.clock.instant();
        Ok(Asked { profile, pause, place, now })
    }

    fn memory(&self) -> &Kv {
        &self.profile.memory.kv
    }

    fn fits(&self, key: &str, value: &[u8]) -> Said<()> {
        let fits = key.len() <= KV_KEY_BYTES_MAX && value.len() <= self.memory().value_bytes_max();
        if fits { Ok(()) } else { Err(kv_error(KvError::TooLarge)) }
    }

    /// Waits within the call, and says it in the filter's words.
    async fn heard<T>(&self, answer: impl Future<Output = std::result::Result<T, Unavailable>>) -> Result<Said<T>> {
        let answer = self.pause.wait(answer).await?;
        Ok(answer.map_err(|why| Error::Unavailable(why.to_string())))
    }

    async fn read(&self, keys: &Keys, key: &str) -> Result<Said<Value>> {
        if self.fits(key, &[]).is_err() {
            return Ok(Ok(None));
        }
        let found = self.heard(keys.get(&self.profile.name, key)).await?;
        // Somebody else wrote it, who may have other bounds.
        Ok(found.and_then(|value| self.fits(key, value.as_deref().unwrap_or_default()).map(|()| value)))
    }

    async fn get(&self, key: &str) -> Result<Said<Value>> {
        match &self.place {
            Place::Memory => Ok(Ok(self.memory().get(key, self.now))),
            Place::Elsewhere(keys) => self.read(keys, key).await,
            Place::Over(keys) => match self.memory().own(key, self.now) {
                Some(own) => Ok(Ok(own)),
                None => self.read(keys, key).await,
            },
        }
    }

    async fn set(&self, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<Said<()>> {
        let Place::Elsewhere(keys) = &self.place else {
            return Ok(self.memory().set(key, value, ttl, self.now).map_err(kv_error));
        };
        match self.fits(key, &value) {
            Ok(()) => self.heard(keys.set(&self.profile.name, key, &value, ttl)).await,
            Err(error) => Ok(Err(error)),
        }
    }

    async fn delete(&self, key: &str) -> Result<Said<()>> {
        match &self.place {
            Place::Elsewhere(keys) if self.fits(key, &[]).is_ok() => {
                self.heard(keys.delete(&self.profile.name, key)).await
            }
            Place::Elsewhere(_) => Ok(Ok(())),
            Place::Memory | Place::Over(_) => {
                self.memory().delete(key);
                Ok(Ok(()))
            }
        }
    }

    async fn swap(&self, key: &str, old: Value, value: Vec<u8>, ttl: Option<Duration>) -> Result<Said<bool>> {
        let (memory, now) = (self.memory(), self.now);
        match &self.place {
            Place::Elsewhere(keys) => match self.fits(key, &value) {
                Ok(()) => self.heard(keys.swap(&self.profile.name, key, old.as_deref(), &value, ttl)).await,
                Err(error) => Ok(Err(error)),
            },
            Place::Over(keys) if memory.own(key, now).is_none() => Ok(match self.read(keys, key).await? {
                Err(error) => Err(error),
                Ok(found) if found != old => Ok(false),
                Ok(_) => memory.set(key, value, ttl, now).map(|()| true).map_err(kv_error),
            }),
            Place::Memory | Place::Over(_) => Ok(memory.swap(key, old.as_deref(), value, ttl, now).map_err(kv_error)),
        }
    }
}
