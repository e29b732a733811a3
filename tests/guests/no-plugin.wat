;; A role without the interface that every plugin must export.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $router (export "on-route" (func $f)))
  (export "tidegate:plugin/router@0.1.0" (instance $router)))
