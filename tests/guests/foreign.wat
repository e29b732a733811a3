;; A component, but no plugin.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "f"))))
