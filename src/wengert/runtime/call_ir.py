"""The callers' native part, as LLVM IR text: from Python's objects to a plan's arrays, and back.

It knows where NumPy's struct and a caller's state have what it needs; `call` fills the state, and looks first whether
objects are as they are taken to be here.
"""

from __future__ import annotations

# Words of a caller's state, and of what it knows about each argument.
PLAN, TABLE, GIVEN, TOTAL, LIMIT, RUN, RELEASE, BUSY, NDARRAY, HANDLE, VALUE_OFFSET, STOP = range(12)
HEADER_WORDS = 16
FIXED, DTYPE, NDIM, FLAGS, DIMS, SLOT, HELD = range(7)
ENTRY_WORDS = 8

# Offsets of PyArrayObject's fields, as they have been in all of NumPy 1 and 2.
DATA_AT, NDIM_AT, DIMS_AT, DTYPE_AT, FLAGS_AT = 16, 24, 32, 56, 64

CALL_IR = f"""
@_Py_NoneStruct = external global i8
declare ptr @PyBool_FromLong(i64)
declare ptr @PyErr_Occurred()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyEval_SaveThread()
declare ptr @PyLong_AsVoidPtr(ptr)
declare i32 @PyType_IsSubtype(ptr, ptr)
declare void @Py_DecRef(ptr)
declare void @Py_IncRef(ptr)

define internal ptr @word(ptr %state, i64 %i) alwaysinline {{
  %p = getelementptr ptr, ptr %state, i64 %i
  %w = load ptr, ptr %p
  ret ptr %w
}}

; Run the plan, on the pool if the state has one, without the GIL if it says so. Whether it ended by an exception.
define internal i1 @run(ptr %state, ptr %args) {{
entry:
  %release = call ptr @word(ptr %state, i64 {RELEASE})
  %keeps = icmp eq ptr %release, null
  br i1 %keeps, label %start, label %save
save:
  %saved = call ptr @PyEval_SaveThread()
  br label %start
start:
  %thread = phi ptr [null, %entry], [%saved, %save]
  %plan = call ptr @word(ptr %state, i64 {PLAN})
  %run = call ptr @word(ptr %state, i64 {RUN})
  %alone = icmp eq ptr %run, null
  br i1 %alone, label %direct, label %shared
direct:
  call void %plan(ptr %args, i32 0, i32 1, ptr null)
  br label %finish
shared:
  %limit.w = call ptr @word(ptr %state, i64 {LIMIT})
  %limit.i = ptrtoint ptr %limit.w to i64
  %limit = trunc i64 %limit.i to i32
  call void %run(ptr %plan, ptr %args, i32 %limit)
  br label %finish
finish:
  br i1 %keeps, label %done, label %restore
restore:
  call void @PyEval_RestoreThread(ptr %thread)
  br label %done
done:
  %stop = call ptr @word(ptr %state, i64 {STOP})
  %never = icmp eq ptr %stop, null
  br i1 %never, label %fine, label %look
look:
  %stopped = load i64, ptr %stop
  %ended = icmp ne i64 %stopped, 0
  store i64 0, ptr %stop
  ret i1 %ended
fine:
  ret i1 false
}}

define ptr @wengert_call_pointer(ptr %self, ptr %pointer) {{
entry:
  %state.p = getelementptr i8, ptr %self, i64 {DATA_AT}
  %state = load ptr, ptr %state.p
  %args = call ptr @PyLong_AsVoidPtr(ptr %pointer)
  %null = icmp eq ptr %args, null
  br i1 %null, label %check, label %call
check:
  %error = call ptr @PyErr_Occurred()
  %fine = icmp eq ptr %error, null
  br i1 %fine, label %call, label %fail
fail:
  ret ptr null
call:
  %ended = call i1 @run(ptr %state, ptr %args)
  br i1 %ended, label %fail, label %good
good:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}}

; The array that an object is, or that a tensor holds; null if it is not as the spec says.
define internal ptr @array_of(ptr %object, ptr %state, ptr %spec) {{
entry:
  %ndarray = call ptr @word(ptr %state, i64 {NDARRAY})
  %type = call ptr @word(ptr %object, i64 1)
  %is.array = icmp eq ptr %type, %ndarray
  br i1 %is.array, label %look, label %other
other:
  %handle = call ptr @word(ptr %state, i64 {HANDLE})
  %sub = call i32 @PyType_IsSubtype(ptr %type, ptr %handle)
  %is.handle = icmp ne i32 %sub, 0
  br i1 %is.handle, label %value, label %no
value:
  %offset = call ptr @word(ptr %state, i64 {VALUE_OFFSET})
  %offset.i = ptrtoint ptr %offset to i64
  %value.p = getelementptr i8, ptr %object, i64 %offset.i
  %held = load ptr, ptr %value.p
  %unset = icmp eq ptr %held, null
  br i1 %unset, label %no, label %typed
typed:
  %held.type = call ptr @word(ptr %held, i64 1)
  %held.array = icmp eq ptr %held.type, %ndarray
  br i1 %held.array, label %look, label %no
look:
  %array = phi ptr [%object, %entry], [%held, %typed]
  %dtype.p = getelementptr i8, ptr %array, i64 {DTYPE_AT}
  %dtype = load ptr, ptr %dtype.p
  %dtype.wanted = call ptr @word(ptr %spec, i64 {DTYPE})
  %same.dtype = icmp eq ptr %dtype, %dtype.wanted
  br i1 %same.dtype, label %rank, label %no
rank:
  %ndim.p = getelementptr i8, ptr %array, i64 {NDIM_AT}
  %ndim = load i32, ptr %ndim.p
  %ndim.w = call ptr @word(ptr %spec, i64 {NDIM})
  %ndim.i = ptrtoint ptr %ndim.w to i64
  %ndim.wanted = trunc i64 %ndim.i to i32
  %same.ndim = icmp eq i32 %ndim, %ndim.wanted
  br i1 %same.ndim, label %flag, label %no
flag:
  %flags.p = getelementptr i8, ptr %array, i64 {FLAGS_AT}
  %flags = load i32, ptr %flags.p
  %mask.w = call ptr @word(ptr %spec, i64 {FLAGS})
  %mask.i = ptrtoint ptr %mask.w to i64
  %mask = trunc i64 %mask.i to i32
  %set = and i32 %flags, %mask
  %all.set = icmp eq i32 %set, %mask
  br i1 %all.set, label %shape, label %no
shape:
  %dims.p = getelementptr i8, ptr %array, i64 {DIMS_AT}
  %dims = load ptr, ptr %dims.p
  %dims.wanted = call ptr @word(ptr %spec, i64 {DIMS})
  br label %head
head:
  %i = phi i64 [0, %shape], [%i1, %body]
  %more = icmp slt i64 %i, %ndim.i
  br i1 %more, label %body, label %yes
body:
  %n = call ptr @word(ptr %dims, i64 %i)
  %n.wanted = call ptr @word(ptr %dims.wanted, i64 %i)
  %i1 = add i64 %i, 1
  %same = icmp eq ptr %n, %n.wanted
  br i1 %same, label %head, label %no
yes:
  ret ptr %array
no:
  ret ptr null
}}

define ptr @wengert_call_arrays(ptr %self, ptr %argv, i64 %n) {{
entry:
  %state.p = getelementptr i8, ptr %self, i64 {DATA_AT}
  %state = load ptr, ptr %state.p
  %busy = call ptr @word(ptr %state, i64 {BUSY})
  %free = icmp eq ptr %busy, null
  br i1 %free, label %count, label %none
none:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
count:
  %given.w = call ptr @word(ptr %state, i64 {GIVEN})
  %given = ptrtoint ptr %given.w to i64
  %total.w = call ptr @word(ptr %state, i64 {TOTAL})
  %total = ptrtoint ptr %total.w to i64
  %table = call ptr @word(ptr %state, i64 {TABLE})
  %entries = getelementptr i64, ptr %state, i64 {HEADER_WORDS}
  %as.many = icmp eq i64 %n, %given
  br i1 %as.many, label %head, label %differs
differs:
  %no = call ptr @PyBool_FromLong(i64 0)
  ret ptr %no
head:
  %i = phi i64 [0, %count], [%i1, %store]
  %more = icmp slt i64 %i, %total
  br i1 %more, label %body, label %ready
body:
  %entry.i = mul i64 %i, {ENTRY_WORDS}
  %entry.p = getelementptr i64, ptr %entries, i64 %entry.i
  %is.given = icmp slt i64 %i, %given
  br i1 %is.given, label %positional, label %fixed
positional:
  %passed = call ptr @word(ptr %argv, i64 %i)
  br label %check
fixed:
  %kept = call ptr @word(ptr %entry.p, i64 {FIXED})
  br label %check
check:
  %object = phi ptr [%passed, %positional], [%kept, %fixed]
  %array = call ptr @array_of(ptr %object, ptr %state, ptr %entry.p)
  %bad = icmp eq ptr %array, null
  br i1 %bad, label %differs, label %store
store:
  %held.p = getelementptr i64, ptr %entry.p, i64 {HELD}
  store ptr %array, ptr %held.p
  %data.p = getelementptr i8, ptr %array, i64 {DATA_AT}
  %data = load ptr, ptr %data.p
  %slot.w = call ptr @word(ptr %entry.p, i64 {SLOT})
  %slot = ptrtoint ptr %slot.w to i64
  %cell = getelementptr ptr, ptr %table, i64 %slot
  store ptr %data, ptr %cell
  %i1 = add i64 %i, 1
  br label %head
ready:
  %busy.p = getelementptr i64, ptr %state, i64 {BUSY}
  store i64 1, ptr %busy.p
  ; While the GIL is free another thread may give a tensor another value: the arrays must live on.
  %release = call ptr @word(ptr %state, i64 {RELEASE})
  %keeps = icmp eq ptr %release, null
  %holds = select i1 %keeps, i64 0, i64 %total
  call void @hold(ptr %entries, i64 %holds, i1 true)
  %ended = call i1 @run(ptr %state, ptr %table)
  call void @hold(ptr %entries, i64 %holds, i1 false)
  store i64 0, ptr %busy.p
  br i1 %ended, label %fail, label %good
fail:
  ret ptr null
good:
  %yes = call ptr @PyBool_FromLong(i64 1)
  ret ptr %yes
}}

; Take a reference to each array found, or give it back.
define internal void @hold(ptr %entries, i64 %total, i1 %take) {{
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %next]
  %more = icmp slt i64 %i, %total
  br i1 %more, label %body, label %done
body:
  %at = mul i64 %i, {ENTRY_WORDS}
  %word = add i64 %at, {HELD}
  %array = call ptr @word(ptr %entries, i64 %word)
  br i1 %take, label %up, label %down
up:
  call void @Py_IncRef(ptr %array)
  br label %next
down:
  call void @Py_DecRef(ptr %array)
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}}
"""
