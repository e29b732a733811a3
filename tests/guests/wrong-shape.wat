;; Exports the right names with the wrong types.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $plugin (export "configure" (func $f)))
  (export "tidegate:plugin/plugin@0.1.0" (instance $plugin))
  (instance $router (export "on-route" (func $f)))
  (export "tidegate:plugin/router@0.1.0" (instance $router)))
