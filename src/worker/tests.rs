use super::*;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};

enum Job {
    Say(u32),
    Panic,
    /// Reports that it runs, then waits until the other end is dropped or sends.
    Stick(Sender<()>, Receiver<()>),
    /// Reports that it runs, then uses processor time until told.
    Burn(Sender<()>, Arc<AtomicBool>),
    /// The same, of the kind that waits.
    Load(Sender<()>, Receiver<()>),
    /// Done at once; its callback waits.
    Callback(Sender<()>, Receiver<()>),
    PanicInFinished,
}

struct Echo(Mutex<Sender<Result<u32, String>>>);

impl Work for Echo {
    type Job = Job;
    type Output = u32;

    fn run(&self, job: &Job) -> u32 {
        match job {
            Job::Say(n) => *n,
            Job::Panic => panic!("told to {}", "panic"),
            Job::Stick(started, release) | Job::Load(started, release) => {
                started.send(()).unwrap();
                let _ = release.recv();
                0
            }
            Job::Burn(started, done) => {
                started.send(()).unwrap();
                while !done.load(Relaxed) {}
                1
            }
            Job::Callback(..) => 2,
            Job::PanicInFinished => u32::MAX,
        }
    }

    fn finished(&self, job: Job, outcome: Result<u32, String>, _: Spent) {
        match job {
            Job::PanicInFinished => panic!("told to panic at the end"),
            Job::Callback(told, release) => {
                told.send(()).unwrap();
                let _ = release.recv();
            }
            _ => {}
        }
        let _ = self.0.lock().unwrap().send(outcome);
    }

    /// What is said is as urgent as it is high, and what is above a thousand must wait.
    fn urgency(&self, job: &Job) -> Option<u64> {
        match job {
            Job::Say(n) => (*n < 1000).then_some(u64::from(*n)),
            _ => Some(0),
        }
    }

    fn waits(&self, job: &Job) -> Option<Duration> {
        matches!(job, Job::Load(..)).then_some(LIMIT)
    }
}

type Fixture = (
    Arc<Pool<Echo>>,
    Receiver<Result<u32, String>>,
    Arc<AtomicU32>,
);

fn pool(workers: usize) -> Fixture {
    let (tx, rx) = channel();
    let paused = Arc::new(AtomicU32::new(0));
    let echo = Echo(Mutex::new(tx));
    (
        Pool::start("test", workers, paused.clone(), echo).unwrap(),
        rx,
        paused,
    )
}

fn stick(pool: &Pool<Echo>, id: u64) -> Sender<()> {
    let (started, running) = channel();
    let (release, wait) = channel();
    pool.push(id, Priority::Explicit, Job::Stick(started, wait));
    running.recv().unwrap();
    release
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn a_panic_is_an_answer_and_the_worker_goes_on() {
    let (pool, rx, _) = pool(1);
    pool.push(1, Priority::Explicit, Job::Panic);
    pool.push(2, Priority::Explicit, Job::PanicInFinished);
    pool.push(3, Priority::Explicit, Job::Say(7));
    assert_eq!(rx.recv().unwrap(), Err("told to panic".to_owned()));
    assert_eq!(rx.recv().unwrap(), Ok(7));
    pool.stop(soon());
    assert_eq!((pool.workers(), pool.running()), (0, 0));
}

#[test]
fn explicit_jobs_go_first_and_a_job_can_become_one() {
    let (pool, rx, _) = pool(1);
    let release = stick(&pool, 0);
    pool.push(1, Priority::Optimize, Job::Say(1));
    pool.push(2, Priority::Observed, Job::Say(2));
    pool.push(3, Priority::Observed, Job::Say(3));
    pool.push(4, Priority::Explicit, Job::Say(4));
    pool.hasten(3, Priority::Explicit);
    drop(release);
    let order: Vec<u32> = (0..5).map(|_| rx.recv().unwrap().unwrap()).collect();
    assert_eq!(order, [0, 4, 3, 2, 1]);
    pool.stop(soon());
}

#[test]
fn queued_jobs_can_be_taken_back() {
    let (pool, rx, _) = pool(1);
    let release = stick(&pool, 0);
    for i in 1..=4 {
        pool.push(i, Priority::Observed, Job::Say(i as u32));
    }
    pool.cancel(|job| matches!(job, Job::Say(n) if n % 2 == 0));
    drop(release);
    let order: Vec<u32> = (0..3).map(|_| rx.recv().unwrap().unwrap()).collect();
    assert_eq!(order, [0, 3, 1]);
    pool.stop(soon());
    assert!(rx.try_recv().is_err());
}

#[test]
fn a_pause_holds_jobs_back() {
    let (pool, rx, paused) = pool(2);
    paused.store(1, Relaxed);
    pool.push(1, Priority::Explicit, Job::Say(1));
    assert!(rx.recv_timeout(Duration::from_millis(200)).is_err());
    paused.store(0, Relaxed);
    pool.wake();
    assert_eq!(rx.recv().unwrap(), Ok(1));
    paused.store(1, Relaxed);
    pool.stop(soon());
    assert_eq!(pool.workers(), 0);
}

#[test]
fn what_nobody_misses_goes_last_until_somebody_does() {
    let (pool, rx, _) = pool(1);
    let release = stick(&pool, 0);
    for id in 1..=3 {
        pool.push(id, Priority::Warm, Job::Say(id as u32));
    }
    pool.push(4, Priority::Optimize, Job::Say(4));
    pool.push(5, Priority::Observed, Job::Say(5));
    pool.hasten(2, Priority::Observed);
    // It has a higher one already.
    pool.hasten(5, Priority::Optimize);
    drop(release);
    let order: Vec<u32> = (0..6).map(|_| rx.recv().unwrap().unwrap()).collect();
    // Equal priority goes by urgency.
    assert_eq!(order, [0, 5, 2, 4, 3, 1]);
    pool.stop(soon());
}

#[test]
fn the_most_urgent_goes_first_and_what_must_wait_does_not_hold_up_others() {
    let (pool, rx, _) = pool(1);
    let release = stick(&pool, 0);
    for (id, n) in [(1, 3), (2, 1000), (3, 7), (4, 5)] {
        pool.push(id, Priority::Observed, Job::Say(n));
    }
    pool.push(5, Priority::Optimize, Job::Say(9));
    drop(release);
    let order: Vec<u32> = (0..5).map(|_| rx.recv().unwrap().unwrap()).collect();
    assert_eq!(order, [0, 7, 5, 3, 9]);
    assert_eq!(pool.queued(), [2]);
    // Asked for, it goes at once.
    pool.hasten(2, Priority::Explicit);
    assert_eq!(rx.recv().unwrap(), Ok(1000));
    pool.stop(soon());
}

/// However many became hot, what works already has its turn.
#[test]
fn one_of_sixteen_is_optimised() {
    let (pool, rx, _) = pool(1);
    let release = stick(&pool, 0);
    for id in 1..40 {
        pool.push(id, Priority::Observed, Job::Say(10));
    }
    for id in 40..43 {
        pool.push(id, Priority::Optimize, Job::Say(20));
    }
    drop(release);
    let order: Vec<u32> = (0..43).map(|_| rx.recv().unwrap().unwrap()).collect();
    let turns = (1..).zip(&order[1..]).filter(|(_, said)| **said == 20);
    let turns: Vec<u32> = turns.map(|(turn, _)| turn).collect();
    assert_eq!(turns, [TURN, 2 * TURN, 42]);
    pool.stop(soon());
}

#[test]
fn in_turns_each_waiting_job_is_weighed() {
    let (pool, rx, _) = pool(1);
    let release = stick(&pool, 0);
    let weight = |job: &Job| match job {
        Job::Say(n) => u64::from(*n),
        _ => 0,
    };
    assert_eq!(pool.lightest(Priority::Observed, 0, weight), None);
    let count = 3 * LOOKED_AT as u64;
    for id in 1..=count {
        pool.push(id, Priority::Observed, Job::Say(500 - id as u32));
    }
    pool.push(count + 1, Priority::Optimize, Job::Say(0));
    let found = |turn| pool.lightest(Priority::Observed, turn, weight);
    let mut lightest: Vec<_> = (0..3).filter_map(found).collect();
    lightest.sort_unstable();
    let last = [count - 2, count - 1, count].map(|id| (id, 500 - id));
    assert_eq!(lightest, last);
    // Of equals the last.
    assert_eq!(
        pool.lightest(Priority::Observed, 2, |_| 7),
        Some((count, 7))
    );
    drop(release);
    (0..count + 2).for_each(|_| drop(rx.recv().unwrap()));
    pool.stop(soon());
}

/// Has a worker use more than this much processor time.
const LIMIT: Duration = Duration::from_millis(20);

fn burn(pool: &Arc<Pool<Echo>>, id: u64) -> Arc<AtomicBool> {
    let (started, running) = channel();
    let done = Arc::new(AtomicBool::new(false));
    pool.push(id, Priority::Explicit, Job::Burn(started, done.clone()));
    running.recv().unwrap();
    done
}

/// Looks until a job is given up.
fn give_up(pool: &Arc<Pool<Echo>>) -> (Vec<u64>, usize) {
    loop {
        let overdue = pool.replace_overdue(LIMIT);
        if !overdue.jobs.is_empty() {
            return (overdue.jobs, overdue.replaced);
        }
        thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn only_the_jobs_own_processor_time_counts() {
    let (pool, rx, _) = pool(2);
    // One waits, and one is done and tells somebody who is slow.
    let waits = stick(&pool, 1);
    let (told, is_told) = channel();
    let (release, slow) = channel();
    pool.push(2, Priority::Explicit, Job::Callback(told, slow));
    is_told.recv().unwrap();
    thread::sleep(3 * LIMIT);
    assert_eq!(pool.replace_overdue(LIMIT), Overdue::default());
    drop((waits, release));
    for _ in 0..2 {
        rx.recv().unwrap().unwrap();
    }
    pool.stop(soon());
}

#[test]
fn what_waits_too_long_is_given_up_by_the_clock_and_known_until_it_comes_back() {
    let (pool, rx, _) = pool(1);
    let (started, running) = channel();
    let (release, wait) = channel();
    pool.push(1, Priority::Explicit, Job::Load(started, wait));
    running.recv().unwrap();
    assert_eq!(give_up(&pool), (vec![1], 1));
    assert_eq!(pool.replace_overdue(LIMIT).waiting, 1);
    // Its place is another's.
    pool.push(2, Priority::Observed, Job::Say(3));
    assert_eq!(rx.recv().unwrap(), Ok(3));
    drop(release);
    assert_eq!(rx.recv().unwrap(), Ok(0));
    while pool.replace_overdue(LIMIT).waiting > 0 {
        thread::yield_now();
    }
    pool.stop(soon());
}

#[test]
fn a_busy_worker_is_replaced_and_gives_the_credit_back() {
    let (pool, rx, _) = pool(1);
    for round in 0..3 {
        let done = burn(&pool, 10 + round);
        assert_eq!(give_up(&pool), (vec![10 + round], 1));
        assert_eq!(pool.workers(), 1);
        pool.push(20, Priority::Observed, Job::Say(11));
        assert_eq!(rx.recv().unwrap(), Ok(11));
        // It is away, so that no other is replaced: the job is given up, the worker goes on.
        let second = burn(&pool, 30 + round);
        assert_eq!(give_up(&pool), (vec![30 + round], 0));
        assert_eq!(pool.workers(), 1);
        second.store(true, Relaxed);
        assert_eq!(rx.recv().unwrap(), Ok(1));
        pool.push(20, Priority::Observed, Job::Say(12));
        assert_eq!(rx.recv().unwrap(), Ok(12));
        done.store(true, Relaxed);
        assert_eq!(rx.recv().unwrap(), Ok(1));
        // W4
        while pool.lock().workers.len() > 1 {
            thread::yield_now();
        }
    }
    pool.stop(soon());
    assert_eq!((pool.workers(), pool.running()), (0, 0));
}

#[test]
fn stopping_does_not_wait_for_what_is_stuck() {
    let (pool, rx, _) = pool(1);
    let release = stick(&pool, 1);
    pool.stop(Instant::now());
    drop(release);
    assert_eq!(rx.recv().unwrap(), Ok(0));
}

#[test]
fn stopping_drops_what_is_queued() {
    let (pool, rx, paused) = pool(1);
    paused.store(1, Relaxed);
    let (started, _running) = channel();
    let (_release, wait) = channel::<()>();
    pool.push(1, Priority::Explicit, Job::Stick(started, wait));
    pool.stop(soon());
    assert!(rx.try_recv().is_err());
}
