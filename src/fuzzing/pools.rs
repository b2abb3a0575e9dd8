//! Pools against a plain model: what each operation gives, and what there is after it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    buffer::BufferMut,
    lockfree::wait::WaitStrategy,
    pool::{LocalBufferPool, NetworkBufferPool, PoolError, RequestError},
};

/// The input says how many segments there are, and then what is done with them, two bytes each.
///
/// # Panics
/// If an operation gives what the model does not, or leaves what the model does not have.
pub fn pools(input: &[u8]) {
    let Some((&segments, operations)) = input.split_first() else { return };
    let segments = u32::from(segments % 12) + 1;
    let pool = NetworkBufferPool::builder()
        .segments(segments)
        .segment_size(crate::memory::page_size())
        .waiting(WaitStrategy::Park)
        .build()
        .expect("a few pages");
    let mut world = World { pool, model: Model::new(segments), locals: BTreeMap::new(), buffers: Vec::new() };
    for operation in operations.chunks_exact(2).take(500) {
        world.step(operation[0], operation[1]);
        world.compare();
    }
    let World { pool, model: _, locals, buffers } = world;
    drop((locals, buffers));
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, i64::from(segments)), "everything is home");
}

/// What is known of a lent segment: who lent it, from which home, and whether it was borrowed.
#[derive(Clone, Copy)]
enum Origin {
    Own { pool: u64, home: u32 },
    Borrowed { pool: u64 },
    Direct,
    Exclusive,
}

/// A home that was left: the next `over` to come back are surplus, `own` more are the pool's.
struct Left {
    over: u32,
    own: u32,
}

struct ModelPool {
    required: u32,
    maximum: u32,
    overdraft: u32,
    failed: bool,
    /// Own segments, free in the pool, and lent by the present home.
    free: u32,
    own_lent: u32,
    /// Lent, and not of the present home or borrowed.
    through: u32,
    reserved: bool,
    home: u32,
    left: BTreeMap<u32, Left>,
}

impl ModelPool {
    fn lent(&self) -> u32 {
        self.own_lent + self.through
    }

    /// Guaranteed, and in the depot (or lent by those who owe it).
    fn unused(&self) -> u32 {
        self.required - self.free - self.own_lent - self.left.values().map(|left| left.own).sum::<u32>()
    }

    fn room(&self, overdraft: bool) -> u32 {
        let more = if overdraft { self.overdraft } else { 0 };
        self.maximum.saturating_add(more).saturating_sub(self.lent() + u32::from(self.reserved))
    }
}

struct Model {
    segments: u32,
    depot: u32,
    surplus: i64,
    exclusive: u32,
    direct: u32,
    pools: BTreeMap<u64, ModelPool>,
    next: u64,
}

impl Model {
    fn new(segments: u32) -> Self {
        let surplus = i64::from(segments);
        Self { segments, depot: segments, surplus, exclusive: 0, direct: 0, pools: BTreeMap::new(), next: 0 }
    }

    fn promised(&self) -> u32 {
        self.pools.values().map(|pool| pool.required).sum::<u32>() + self.exclusive
    }

    /// One segment of pool `id`, where a request looks for it.
    fn request(&mut self, id: u64, overdraft: bool) -> Result<Origin, RequestError> {
        let pool = self.pools.get_mut(&id).expect("a pool that is there");
        if pool.free > 0 {
            pool.free -= 1;
        } else if pool.failed {
            return Err(RequestError::Failed);
        } else if pool.reserved {
            pool.reserved = false;
            pool.through += 1;
            return Ok(Origin::Borrowed { pool: id });
        } else if pool.unused() > 0 {
            self.depot = self.depot.checked_sub(1).ok_or(RequestError::Exhausted)?;
        } else if pool.room(overdraft) > 0 && self.surplus > 0 && self.depot > 0 {
            self.depot -= 1;
            self.surplus -= 1;
            pool.through += 1;
            return Ok(Origin::Borrowed { pool: id });
        } else {
            return Err(RequestError::Exhausted);
        }
        pool.own_lent += 1;
        Ok(Origin::Own { pool: id, home: pool.home })
    }

    fn request_many(&mut self, id: u64, count: u32) -> Result<Vec<Origin>, RequestError> {
        let pool = self.pools.get_mut(&id).expect("a pool that is there");
        if count > pool.maximum.min(self.segments) {
            return Err(RequestError::TooMany);
        }
        let here = pool.free.min(count);
        if here < count && pool.failed {
            return Err(RequestError::Failed);
        }
        let own = pool.unused().min(count - here);
        let at_hand = u32::from(pool.reserved).min(count - here - own);
        let borrowed = count - here - own - at_hand;
        if borrowed > 0 && (count - at_hand > pool.room(false) || self.surplus < i64::from(borrowed)) {
            return Err(RequestError::Exhausted);
        }
        self.depot = self.depot.checked_sub(own + borrowed).ok_or(RequestError::Exhausted)?;
        self.surplus -= i64::from(borrowed);
        pool.free -= here;
        pool.own_lent += here + own;
        pool.through += borrowed + at_hand;
        pool.reserved &= at_hand == 0;
        let own = std::iter::repeat_n(Origin::Own { pool: id, home: pool.home }, (here + own) as usize);
        Ok(own.chain(std::iter::repeat_n(Origin::Borrowed { pool: id }, (borrowed + at_hand) as usize)).collect())
    }

    fn give_back(&mut self, origin: Origin) {
        if let Origin::Own { pool, home } = origin
            && let Some(pool) = self.pools.get_mut(&pool)
        {
            if pool.home == home {
                pool.own_lent -= 1;
                pool.free += 1;
                return;
            }
            pool.through -= 1;
            self.depot += 1;
            match pool.left.get_mut(&home) {
                Some(left) if left.over > 0 => left.over -= 1,
                Some(left) if left.own > 0 => {
                    left.own -= 1;
                    return; // the pool's own, in the depot
                }
                _ => {}
            }
            self.surplus += 1;
            return;
        }
        self.depot += 1;
        self.surplus += 1;
        match origin {
            Origin::Borrowed { pool } => {
                self.pools.get_mut(&pool).into_iter().for_each(|pool| pool.through -= 1);
            }
            Origin::Direct => self.direct -= 1,
            Origin::Exclusive => self.exclusive -= 1,
            Origin::Own { .. } => {} // of a pool that is gone
        }
    }

    fn resize(&mut self, id: u64, required: u32, maximum: u32) {
        let pool = self.pools.get_mut(&id).expect("a pool that is there");
        pool.maximum = maximum;
        if required >= pool.required {
            self.surplus -= i64::from(required - pool.required);
            pool.required = required;
            return;
        }
        let mut over = pool.required - required;
        let unused = pool.unused().min(over);
        let free = pool.free.min(over - unused);
        pool.free -= free;
        self.depot += free;
        self.surplus += i64::from(unused + free);
        over -= unused + free;
        for left in pool.left.values_mut().rev() {
            let given = left.own.min(over);
            left.own -= given;
            left.over += given;
            over -= given;
        }
        if over > 0 {
            pool.left.insert(pool.home, Left { over, own: pool.own_lent - over });
            pool.home += 1;
            pool.through += std::mem::take(&mut pool.own_lent);
        }
        pool.required = required;
    }

    fn drop_pool(&mut self, id: u64) {
        let pool = self.pools.remove(&id).expect("a pool that is there");
        let here = pool.free + u32::from(pool.reserved);
        self.depot += here;
        self.surplus += i64::from(here + pool.unused());
    }
}

struct World {
    pool: NetworkBufferPool,
    model: Model,
    locals: BTreeMap<u64, LocalBufferPool>,
    buffers: Vec<(BufferMut, Origin)>,
}

/// One of the local pools.
fn local_pool(locals: &mut BTreeMap<u64, LocalBufferPool>, which: u8) -> Option<(u64, &mut LocalBufferPool)> {
    let nth = usize::from(which) % locals.len().max(1);
    locals.iter_mut().nth(nth).map(|(&id, local)| (id, local))
}

impl World {
    fn step(&mut self, operation: u8, argument: u8) {
        let (low, high) = (u32::from(argument & 7), u32::from(argument >> 4));
        match operation % 12 {
            0 => self.build(low, high),
            1 => self.drop_pool(argument),
            2 => self.resize(operation, low, high),
            3 => self.direct(low),
            4 => self.exclusive(low),
            5 | 6 => drop(self.take_buffer(argument)),
            7 => {
                if let Some(buffer) = self.take_buffer(argument)
                    && let Some((_, local)) = local_pool(&mut self.locals, operation)
                {
                    local.recycle(buffer); // of its own or of another pool
                }
            }
            8 => self.request(argument, false),
            9 => self.request(argument, true),
            10 => self.request_many(operation, low),
            _ => self.look(argument, high),
        }
    }

    fn take_buffer(&mut self, which: u8) -> Option<BufferMut> {
        if self.buffers.is_empty() {
            return None;
        }
        let (buffer, origin) = self.buffers.swap_remove(usize::from(which) % self.buffers.len());
        self.model.give_back(origin);
        Some(buffer)
    }

    fn build(&mut self, required: u32, extra: u32) {
        let maximum = if extra == 15 { u32::MAX } else { required + extra };
        let overdraft = extra % 3;
        let free = self.model.segments - self.model.promised();
        let built = self
            .pool
            .local_pool("local")
            .required(required)
            .maximum(maximum)
            .overdraft(overdraft)
            .waiting(WaitStrategy::Park)
            .build();
        match built {
            Ok(local) => {
                assert!(required <= free && maximum > 0);
                self.locals.insert(self.model.next, local);
                let pool = ModelPool {
                    required,
                    maximum,
                    overdraft,
                    failed: false,
                    free: 0,
                    own_lent: 0,
                    through: 0,
                    reserved: false,
                    home: 0,
                    left: BTreeMap::new(),
                };
                self.model.pools.insert(self.model.next, pool);
                self.model.next += 1;
                self.model.surplus -= i64::from(required);
            }
            Err(PoolError::Insufficient { available, holders, .. }) => {
                assert!(required > free && available == free);
                assert_eq!(
                    holders.is_empty(),
                    self.model.pools.is_empty() && self.model.exclusive + self.model.direct == 0
                );
            }
            Err(PoolError::Nothing { .. }) => assert_eq!(maximum, 0),
            Err(error) => panic!("{error}"),
        }
    }

    fn drop_pool(&mut self, which: u8) {
        if let Some((id, _)) = local_pool(&mut self.locals, which) {
            self.locals.remove(&id);
            self.model.drop_pool(id);
        }
    }

    fn resize(&mut self, which: u8, required: u32, extra: u32) {
        let Some((id, local)) = local_pool(&mut self.locals, which) else { return };
        let resized = local.resize(required, required + extra);
        let before = self.model.pools[&id].required;
        let free = self.model.segments - self.model.promised() + before;
        match resized {
            Ok(()) => {
                assert!(required <= free && required + extra > 0);
                self.model.resize(id, required, required + extra);
            }
            Err(PoolError::Insufficient { available, .. }) => assert!(required > free && available == free),
            Err(PoolError::Nothing { .. }) => assert_eq!(required + extra, 0),
            Err(error) => panic!("{error}"),
        }
    }

    fn direct(&mut self, count: u32) {
        let mut got = Vec::new();
        let result = self.pool.try_request_many(count, &mut got);
        let enough = self.model.surplus >= i64::from(count) && self.model.depot >= count;
        let expected = match count {
            0 if self.model.surplus < 0 => Err(RequestError::Exhausted), // nothing of what is owed
            _ if count > self.model.segments => Err(RequestError::TooMany),
            _ if enough => Ok(()),
            _ => Err(RequestError::Exhausted),
        };
        assert_eq!((result, got.len()), (expected, if expected.is_ok() { count as usize } else { 0 }));
        let got_now = got.len() as u32;
        self.model.direct += got_now;
        self.model.depot -= got_now;
        self.model.surplus -= i64::from(got_now);
        self.buffers.extend(got.into_iter().map(|buffer| (buffer, Origin::Direct)));
    }

    fn exclusive(&mut self, count: u32) {
        let free = self.model.segments - self.model.promised();
        match self.pool.request_exclusive("exclusive", count, Duration::ZERO) {
            Ok(got) => {
                assert!(count <= free && count <= self.model.depot);
                assert_eq!(got.len(), count as usize);
                self.model.exclusive += count;
                self.model.depot -= count;
                self.model.surplus -= i64::from(count);
                self.buffers.extend(got.into_iter().map(|buffer| (buffer, Origin::Exclusive)));
            }
            Err(PoolError::Insufficient { available, .. }) => assert!(count > free && available == free),
            Err(PoolError::TimedOut { wanted, got }) => {
                assert!(wanted == count && got == self.model.depot && got < count);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn request(&mut self, which: u8, overdraft: bool) {
        let Some((id, local)) = local_pool(&mut self.locals, which) else { return };
        let got = match (overdraft, which & 8) {
            (true, _) => local.try_request_overdraft(),
            (false, 0) => local.try_request(),
            (false, _) => local.request_timeout(Duration::ZERO),
        };
        let expected = self.model.request(id, overdraft);
        match (got, expected) {
            (Ok(buffer), Ok(origin)) => self.buffers.push((buffer, origin)),
            (Err(RequestError::TimedOut | RequestError::Exhausted), Err(RequestError::Exhausted)) => {}
            (got, expected) => assert_eq!(got.map(drop), expected.map(drop)),
        }
    }

    fn request_many(&mut self, which: u8, count: u32) {
        let Some((id, local)) = local_pool(&mut self.locals, which) else { return };
        let mut got = Vec::new();
        let result = local.try_request_many(count, &mut got);
        let expected = self.model.request_many(id, count);
        assert_eq!(result, expected.as_ref().map(|_| ()).map_err(|&error| error));
        let origins = expected.unwrap_or_default();
        assert_eq!(got.len(), origins.len());
        self.buffers.extend(got.into_iter().zip(origins));
    }

    /// What leaves no buffer: failing, and keeping one at hand.
    fn look(&mut self, which: u8, what: u32) {
        let Some((id, local)) = local_pool(&mut self.locals, which) else { return };
        let model = self.model.pools.get_mut(&id).expect("each has one");
        if what == 0 {
            local.control().fail("as asked");
            model.failed = true;
        } else if model.unused() == 0 && local.is_available() {
            let polled = local.poll_available(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            assert!(polled.is_ready());
            if model.free == 0 && !model.reserved {
                model.reserved = true;
                self.model.depot -= 1;
                self.model.surplus -= 1;
            }
        }
    }

    /// What can be seen is what the model has.
    fn compare(&mut self) {
        let model = &self.model;
        let usage = self.pool.usage();
        assert_eq!(usage.surplus, model.surplus);
        assert_eq!(usage.in_use, model.segments - model.depot);
        assert_eq!((usage.exclusive, usage.direct), (model.exclusive, model.direct));
        assert_eq!(usage.pools.len(), model.pools.len());
        for ((holder, pool), local) in usage.pools.iter().zip(model.pools.values()).zip(self.locals.values_mut()) {
            assert_eq!((holder.required, holder.maximum), (pool.required, pool.maximum));
            assert_eq!(holder.held, pool.free + pool.lent() + u32::from(pool.reserved));
            assert!(holder.required <= holder.fair_share && holder.fair_share <= holder.maximum);
            assert_eq!(local.lent(), pool.lent());
            assert!(pool.unused() <= pool.required, "no more is guaranteed than was promised");
        }
        let owed: u32 = model.pools.values().map(ModelPool::unused).sum();
        assert!(i64::from(model.depot) == model.surplus + i64::from(owed), "what is free is surplus or somebody's");
    }
}
