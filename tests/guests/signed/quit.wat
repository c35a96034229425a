;; What the signatures beside it are of: on-quit, as the contract has it.
(component
    (core module $m (func (export "quit") (param i32 i32 f64 f64)))
    (core instance $i (instantiate $m))
    (type $summary (record (field "transactions" u32) (field "delivered" u32) (field "octets" f64) (field "duration" f64)))
    (func $quit (param "what" $summary) (canon lift (core func $i "quit")))
    (component $named
        (type $inner (record (field "transactions" u32) (field "delivered" u32) (field "octets" f64) (field "duration" f64)))
        (import "type" (type $in (eq $inner)))
        (import "quit" (func $f (param "what" $in)))
        (export $out "summary" (type $inner))
        (export "quit" (func $f) (func (param "what" $out))))
    (instance $q (instantiate $named (with "type" (type $summary)) (with "quit" (func $quit))))
    (export "wasmilter:filter/on-quit@0.1.0" (instance $q)))
