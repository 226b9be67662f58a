"""The thread pool's native part, as LLVM IR text: dispatch, workers, barrier.

Who waits spins first, since work mostly comes soon, then yields the processor some times, since spinning for
longer would take it from the very thread that is waited for, and then sleeps: in a futex where the kernel has them
(``futex``: Linux). Anywhere else (``portable``) an idle worker sleeps in one of the interpreter's locks, which
exist on every system, and the other waits, which are short, go on yielding.

Kernels, above all of virtual machines, like to wake a thread where the one that wakes it runs, and there both stay for
milliseconds. So before sleeping workers are woken they are kept off the caller's processor (Linux).

Whoever waits announces it before it looks a last time, and whoever changes a word looks for announcements after
the change, both sequentially consistent: one of the two sees the other, so no wake-up is lost.
"""

from __future__ import annotations

# Bytes of the pool's struct. Words that different threads write lie in different pairs of cache lines.
STARTED, SPIN, WANTED, RESIZE, LOCKS = 0, 4, 8, 16, 24
BUSY = 128
GENERATION, IDLE = 256, 260
DONE, JOINING = 384, 388
PLAN, ARGS, THREADS, STOP = 512, 520, 528, 532
# The workers' thread numbers, the processors that they may use (or null: they are left alone), and the one that they
# are kept off, plus 1.
NUMBERS, ALLOWED, AVOIDED = 536, 544, 552
BARRIER = 640
SIZE = 1024
# And of a barrier: how many have arrived, its phase, how many wait in the kernel.
_PHASE, _WAITING = 128, 132
LOCK_BYTES = 128  # of an idle worker: its lock, and at 64 whether it waits for it

# Between spin and sleep: with more threads than processors, yielding is several times cheaper than a futex.
_YIELDS = 16

# What a spinning thread does, for its neighbours' sake.
_PAUSE = {"x86_64": "@llvm.x86.sse2.pause()", "aarch64": "@llvm.aarch64.isb(i32 15)"}
_NO_PAUSE = "@llvm.donothing()"
_FUTEX = {"x86_64": 202, "aarch64": 98}  # number of the system call
_SET_AFFINITY = {"x86_64": 203, "aarch64": 122}
MASK_BYTES = 128  # of a set of processors

EXPORTS = ("wengert_pool", "wengert_run", "wengert_barrier", "wengert_worker", "wengert_try_acquire", "wengert_dismiss")

FUTEX_ARCHITECTURES = frozenset(_FUTEX)


def pool_ir(architecture: str, wait: str) -> str:
    """The pool's module. ``wait``: ``futex`` or ``portable``; the latter imports ``wengert_yield``."""
    pause = _PAUSE.get(architecture, _NO_PAUSE)
    text = _COMMON + (_FUTEXES if wait == "futex" else _PORTABLE) + f"declare void {pause.replace('i32 15', 'i32')}\n"
    for name, numbers in (("$FUTEX", _FUTEX), ("$SET_AFFINITY", _SET_AFFINITY)):
        text = text.replace(name, str(numbers.get(architecture)))
    return text.replace("$PAUSE", pause)


_COMMON = f"""
@wengert_pool = global [{SIZE} x i8] zeroinitializer, align 128

; Whether a word has changed from %seen within the pool's number of pauses.
define internal i1 @spin(ptr %word, i32 %seen) {{
entry:
  %limit = load i32, ptr getelementptr (i8, ptr @wengert_pool, i64 {SPIN})
  br label %look
look:
  %k = phi i32 [0, %entry], [%k1, %pause]
  %now = load atomic i32, ptr %word acquire, align 4
  %changed = icmp ne i32 %now, %seen
  br i1 %changed, label %yes, label %still
still:
  %more = icmp ult i32 %k, %limit
  br i1 %more, label %pause, label %no
pause:
  call void $PAUSE
  %k1 = add i32 %k, 1
  br label %look
yes:
  ret i1 true
no:
  ret i1 false
}}

; Return when a word is no longer %seen. %waiting counts who sleeps on it.
define internal void @await(ptr %word, i32 %seen, ptr %waiting) {{
entry:
  br label %try
try:
  %soon = call i1 @spin(ptr %word, i32 %seen)
  br i1 %soon, label %done, label %yield
yield:
  %k = phi i32 [0, %try], [%k1, %again]
  %r = call i32 @wengert_yield()
  %first = load atomic i32, ptr %word acquire, align 4
  %came = icmp ne i32 %first, %seen
  br i1 %came, label %done, label %again
again:
  %k1 = add i32 %k, 1
  %more = icmp ult i32 %k1, {_YIELDS}
  br i1 %more, label %yield, label %sleep
sleep:
  call void @sleep(ptr %word, i32 %seen, ptr %waiting)
  %now = load atomic i32, ptr %word acquire, align 4
  %changed = icmp ne i32 %now, %seen
  br i1 %changed, label %done, label %sleep
done:
  ret void
}}
declare i32 @wengert_yield()

; Every thread of a plan calls this between dependent kernels; the last to arrive opens the next phase.
define void @wengert_barrier(ptr %barrier, i32 %threads) {{
entry:
  %alone = icmp sle i32 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %phase = getelementptr i8, ptr %barrier, i64 {_PHASE}
  %waiting = getelementptr i8, ptr %barrier, i64 {_WAITING}
  %mine = load atomic i32, ptr %phase acquire, align 4
  %before = atomicrmw add ptr %barrier, i32 1 acq_rel
  %count = add i32 %before, 1
  %last = icmp eq i32 %count, %threads
  br i1 %last, label %open, label %wait
open:
  store atomic i32 0, ptr %barrier monotonic, align 4
  %old = atomicrmw add ptr %phase, i32 1 seq_cst
  call void @wake(ptr %phase, ptr %waiting)
  br label %done
wait:
  call void @await(ptr %phase, i32 %mine, ptr %waiting)
  br label %done
done:
  ret void
}}

; Claim the pool; whoever gets 1 has it until BUSY is set to 0.
define i32 @wengert_try_acquire() {{
  %busy = getelementptr i8, ptr @wengert_pool, i64 {BUSY}
  %pair = cmpxchg ptr %busy, i32 0, i32 1 acq_rel monotonic
  %mine = extractvalue {{ i32, i1 }} %pair, 1
  %r = zext i1 %mine to i32
  ret i32 %r
}}

; Let the workers look at the pool: there is work, or they shall stop.
define internal void @summon() {{
  %generation = getelementptr i8, ptr @wengert_pool, i64 {GENERATION}
  %old = atomicrmw add ptr %generation, i32 1 seq_cst
  call void @rouse()
  ret void
}}

; Tell the workers to return; the caller has the pool, and joins them.
define void @wengert_dismiss() {{
  store i32 1, ptr getelementptr (i8, ptr @wengert_pool, i64 {STOP})
  call void @summon()
  ret void
}}

; Run void plan(args, thread, threads, barrier) on up to %limit threads, of which the caller is number 0.
define void @wengert_run(ptr %plan, ptr %args, i32 %limit) {{
entry:
  %wanted.p = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {WANTED})
  %wanted = load atomic i32, ptr %wanted.p monotonic, align 4
  %several = icmp sgt i32 %wanted, 1
  %allowed = icmp sgt i32 %limit, 1
  %share = and i1 %several, %allowed
  br i1 %share, label %claim, label %alone
claim:
  ; Another thread has the pool, or this one has, further out: then the work is done here, with the same result.
  %got = call i32 @wengert_try_acquire()
  %mine = icmp ne i32 %got, 0
  br i1 %mine, label %staff, label %alone
alone:
  call void %plan(ptr %args, i32 0, i32 1, ptr null)
  ret void
staff:
  %need = sub i32 %wanted, 1
  %there = load i32, ptr getelementptr (i8, ptr @wengert_pool, i64 {STARTED})
  %right = icmp eq i32 %there, %need
  br i1 %right, label %dispatch, label %resize
resize:
  %resize.f = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {RESIZE})
  call void %resize.f(i32 %need)
  br label %dispatch
dispatch:
  %workers = load i32, ptr getelementptr (i8, ptr @wengert_pool, i64 {STARTED})
  %all = add i32 %workers, 1
  %n = call i32 @llvm.smin.i32(i32 %all, i32 %limit)
  store ptr %plan, ptr getelementptr (i8, ptr @wengert_pool, i64 {PLAN})
  store ptr %args, ptr getelementptr (i8, ptr @wengert_pool, i64 {ARGS})
  store i32 %n, ptr getelementptr (i8, ptr @wengert_pool, i64 {THREADS})
  %done.p = getelementptr i8, ptr @wengert_pool, i64 {DONE}
  store atomic i32 %workers, ptr %done.p monotonic, align 4
  call void @summon()
  %barrier = getelementptr i8, ptr @wengert_pool, i64 {BARRIER}
  call void %plan(ptr %args, i32 0, i32 %n, ptr %barrier)
  br label %join
join:
  %left = load atomic i32, ptr %done.p acquire, align 4
  %finished = icmp eq i32 %left, 0
  br i1 %finished, label %release, label %wait
wait:
  %joining = getelementptr i8, ptr @wengert_pool, i64 {JOINING}
  call void @await(ptr %done.p, i32 %left, ptr %joining)
  br label %join
release:
  %busy = getelementptr i8, ptr @wengert_pool, i64 {BUSY}
  store atomic i32 0, ptr %busy release, align 4
  ret void
}}
declare i32 @llvm.smin.i32(i32, i32)

; A worker's life. %seen: the generation when it was made.
define void @wengert_worker(i32 %index, i32 %seen) {{
entry:
  %thread = add i32 %index, 1
  %generation = getelementptr i8, ptr @wengert_pool, i64 {GENERATION}
  %done.p = getelementptr i8, ptr @wengert_pool, i64 {DONE}
  %joining = getelementptr i8, ptr @wengert_pool, i64 {JOINING}
  br label %wait
wait:
  %last = phi i32 [%seen, %entry], [%now, %next], [%now, %report]
  %soon = call i1 @spin(ptr %generation, i32 %last)
  br i1 %soon, label %look, label %idle
idle:
  call void @idle(i32 %index, i32 %last)
  %woken = load atomic i32, ptr %generation acquire, align 4
  %called = icmp ne i32 %woken, %last
  br i1 %called, label %look, label %idle
look:
  %now = load atomic i32, ptr %generation acquire, align 4
  %stop = load i32, ptr getelementptr (i8, ptr @wengert_pool, i64 {STOP})
  %leave = icmp ne i32 %stop, 0
  br i1 %leave, label %return, label %take
take:
  %n = load i32, ptr getelementptr (i8, ptr @wengert_pool, i64 {THREADS})
  %mine = icmp slt i32 %thread, %n
  br i1 %mine, label %work, label %next
work:
  %plan = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {PLAN})
  %args = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {ARGS})
  %barrier = getelementptr i8, ptr @wengert_pool, i64 {BARRIER}
  call void %plan(ptr %args, i32 %thread, i32 %n, ptr %barrier)
  br label %next
next:
  %old = atomicrmw sub ptr %done.p, i32 1 seq_cst
  %last.one = icmp eq i32 %old, 1
  br i1 %last.one, label %report, label %wait
report:
  call void @wake(ptr %done.p, ptr %joining)
  br label %wait
return:
  ret void
}}
"""


# Waits by Linux' futexes; 128 and 129 are FUTEX_WAIT and FUTEX_WAKE, private to the process.
_FUTEXES = f"""
declare i64 @syscall(i64, ...)
define internal void @sleep(ptr %word, i32 %seen, ptr %waiting) {{
  %a = atomicrmw add ptr %waiting, i32 1 seq_cst
  %r = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i64 128, i32 %seen, ptr null, ptr null, i64 0)
  %b = atomicrmw sub ptr %waiting, i32 1 seq_cst
  ret void
}}
define internal void @wake(ptr %word, ptr %waiting) {{
entry:
  %n = load atomic i32, ptr %waiting seq_cst, align 4
  %some = icmp sgt i32 %n, 0
  br i1 %some, label %call, label %done
call:
  %r = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i64 129, i32 2147483647, ptr null, ptr null, i64 0)
  br label %done
done:
  ret void
}}
define internal void @idle(i32 %index, i32 %seen) {{
  %generation = getelementptr i8, ptr @wengert_pool, i64 {GENERATION}
  %waiting = getelementptr i8, ptr @wengert_pool, i64 {IDLE}
  call void @sleep(ptr %generation, i32 %seen, ptr %waiting)
  ret void
}}
define internal void @rouse() {{
entry:
  %generation = getelementptr i8, ptr @wengert_pool, i64 {GENERATION}
  %waiting = getelementptr i8, ptr @wengert_pool, i64 {IDLE}
  %n = load atomic i32, ptr %waiting seq_cst, align 4
  %some = icmp sgt i32 %n, 0
  br i1 %some, label %asleep, label %done
asleep:
  call void @part()
  call void @wake(ptr %generation, ptr %waiting)
  br label %done
done:
  ret void
}}
declare i32 @wengert_processor()
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

; Keep the workers off the processor that this thread runs on, if that is another one than last time.
define internal void @part() {{
entry:
  %mask = alloca [{MASK_BYTES} x i8], align 8
  %allowed = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {ALLOWED})
  %free = icmp eq ptr %allowed, null
  br i1 %free, label %done, label %look
look:
  %avoided.p = getelementptr i8, ptr @wengert_pool, i64 {AVOIDED}
  %here = call i32 @wengert_processor()
  %known = icmp ult i32 %here, {8 * MASK_BYTES}
  %mark = add i32 %here, 1
  %avoided = load i32, ptr %avoided.p
  %moved = icmp ne i32 %avoided, %mark
  %act = and i1 %known, %moved
  br i1 %act, label %clear, label %done
clear:
  store i32 %mark, ptr %avoided.p
  call void @llvm.memcpy.p0.p0.i64(ptr %mask, ptr %allowed, i64 {MASK_BYTES}, i1 false)
  %at = lshr i32 %here, 3
  %byte.p = getelementptr i8, ptr %mask, i32 %at
  %bit = and i32 %here, 7
  %bit8 = trunc i32 %bit to i8
  %one = shl i8 1, %bit8
  %others = xor i8 %one, -1
  %byte = load i8, ptr %byte.p
  %cleared = and i8 %byte, %others
  store i8 %cleared, ptr %byte.p
  %numbers = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {NUMBERS})
  %n = load i32, ptr getelementptr (i8, ptr @wengert_pool, i64 {STARTED})
  br label %head
head:
  %i = phi i32 [0, %clear], [%i1, %body]
  %more = icmp slt i32 %i, %n
  br i1 %more, label %body, label %done
body:
  %number.p = getelementptr i32, ptr %numbers, i32 %i
  %number = load i32, ptr %number.p
  %r = call i64 (i64, ...) @syscall(i64 $SET_AFFINITY, i32 %number, i64 {MASK_BYTES}, ptr %mask)
  %i1 = add i32 %i, 1
  br label %head
done:
  ret void
}}
"""


_PORTABLE = f"""
declare i32 @PyThread_acquire_lock(ptr, i32)
declare void @PyThread_release_lock(ptr)
define internal void @sleep(ptr %word, i32 %seen, ptr %waiting) {{
  %r = call i32 @wengert_yield()
  ret void
}}
define internal void @wake(ptr %word, ptr %waiting) {{
  ret void
}}
; A worker's lock is held except between a call to rouse and the worker's waking.
define internal void @idle(i32 %index, i32 %seen) {{
entry:
  %locks = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {LOCKS})
  %i = zext i32 %index to i64
  %at = mul i64 %i, {LOCK_BYTES}
  %slot = getelementptr i8, ptr %locks, i64 %at
  %flag = getelementptr i8, ptr %slot, i64 64
  %generation = getelementptr i8, ptr @wengert_pool, i64 {GENERATION}
  %announce = atomicrmw xchg ptr %flag, i32 1 seq_cst
  %now = load atomic i32, ptr %generation seq_cst, align 4
  %same = icmp eq i32 %now, %seen
  br i1 %same, label %wait, label %withdraw
withdraw:
  %old = atomicrmw xchg ptr %flag, i32 0 seq_cst
  %mine = icmp eq i32 %old, 1
  br i1 %mine, label %done, label %wait
wait:
  %lock = load ptr, ptr %slot
  %r = call i32 @PyThread_acquire_lock(ptr %lock, i32 1)
  br label %done
done:
  ret void
}}
define internal void @rouse() {{
entry:
  %locks = load ptr, ptr getelementptr (i8, ptr @wengert_pool, i64 {LOCKS})
  %n = load i32, ptr getelementptr (i8, ptr @wengert_pool, i64 {STARTED})
  br label %head
head:
  %index = phi i32 [0, %entry], [%following, %next]
  %more = icmp slt i32 %index, %n
  br i1 %more, label %body, label %done
body:
  %i = zext i32 %index to i64
  %at = mul i64 %i, {LOCK_BYTES}
  %slot = getelementptr i8, ptr %locks, i64 %at
  %flag = getelementptr i8, ptr %slot, i64 64
  %old = atomicrmw xchg ptr %flag, i32 0 seq_cst
  %asleep = icmp eq i32 %old, 1
  br i1 %asleep, label %wake, label %next
wake:
  %lock = load ptr, ptr %slot
  call void @PyThread_release_lock(ptr %lock)
  br label %next
next:
  %following = add i32 %index, 1
  br label %head
done:
  ret void
}}
"""
