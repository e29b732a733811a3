;; A plugin by name, with none of the roles.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $plugin (export "configure" (func $f)))
  (export "tidegate:plugin/plugin@0.1.0" (instance $plugin)))
