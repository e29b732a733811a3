;; Built for a version of `tidegate:plugin` that there is not.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $plugin (export "configure" (func $f)))
  (export "tidegate:plugin/plugin@0.9.0" (instance $plugin)))
