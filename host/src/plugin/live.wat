;; The live counters as a guest reads them: loads from the host's memory, inlined into the guest's code. Trusted: this is
;; the only code that is given the unsafe intrinsics, and each load is behind the check of its slot.
;;
;; The store's data (`Guest` in guest.rs) begins with the cells' address (u64), how many there are (u64) and the table's
;; clock as of the call (u32). A cell (`Cell` in upstream/live.rs) is 64 bytes: inflight, ewma_us, touched_ms, weight.
(component
  (import "unsafe-intrinsics" (instance $native
    (export "store-data-address" (func (result u64)))
    (export "u32-native-load" (func (param "pointer" u64) (result u32)))
    (export "u64-native-load" (func (param "pointer" u64) (result u64)))))

  (core module $m
    (import "" "data" (func $data (result i64)))
    (import "" "load" (func $load (param i64) (result i32)))
    (import "" "load64" (func $load64 (param i64) (result i64)))

    ;; The address of a slot's cell; an unknown slot traps.
    (func $cell (param $slot i32) (result i64)
      (if (i64.ge_u (i64.extend_i32_u (local.get $slot))
                    (call $load64 (i64.add (call $data) (i64.const 8))))
        (then unreachable))
      (i64.add (call $load64 (call $data))
               (i64.shl (i64.extend_i32_u (local.get $slot)) (i64.const 6))))

    (func (export "inflight") (param $slot i32) (result i32)
      (call $load (call $cell (local.get $slot))))

    (func (export "weight") (param $slot i32) (result i32)
      (call $load (i64.add (call $cell (local.get $slot)) (i64.const 12))))

    ;; `LiveTable::decayed`, step by step: halved for each whole half-life of 7000 ms, in between on a straight line.
    (func (export "ewma-us") (param $slot i32) (result i32)
      (local $cell i64) (local $idle i32) (local $halvings i32) (local $base i64)
      (local.set $cell (call $cell (local.get $slot)))
      (local.set $idle
        (i32.sub (call $load (i64.add (call $data) (i64.const 16)))
                 (call $load (i64.add (local.get $cell) (i64.const 8)))))
      (local.set $halvings (i32.div_u (local.get $idle) (i32.const 7000)))
      (if (i32.gt_u (local.get $halvings) (i32.const 31))
        (then (return (i32.const 0))))
      (local.set $base
        (i64.extend_i32_u
          (i32.shr_u (call $load (i64.add (local.get $cell) (i64.const 4))) (local.get $halvings))))
      (i32.wrap_i64
        (i64.sub (local.get $base)
          (i64.div_u
            (i64.mul (local.get $base)
                     (i64.extend_i32_u (i32.rem_u (local.get $idle) (i32.const 7000))))
            (i64.const 14000))))))

  (core func $data (canon lower (func $native "store-data-address")))
  (core func $load (canon lower (func $native "u32-native-load")))
  (core func $load64 (canon lower (func $native "u64-native-load")))
  (core instance $c (instantiate $m
    (with "" (instance (export "data" (func $data)) (export "load" (func $load)) (export "load64" (func $load64))))))

  (func (export "inflight") (param "slot" u32) (result u32) (canon lift (core func $c "inflight")))
  (func (export "ewma-us") (param "slot" u32) (result u32) (canon lift (core func $c "ewma-us")))
  (func (export "weight") (param "slot" u32) (result u32) (canon lift (core func $c "weight"))))
