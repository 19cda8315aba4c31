// SPDX-License-Identifier: MIT

package wire

import "fmt"

// lawful checks what the laws say about results beyond their form.
func lawful(v Value) error {
	switch v := v.(type) {
	case *CB_COMPOUND4res:
		return v.lawful()
	}
	return nil
}

// lawful: evaluation ends with the first operation that fails, and its status is that of the whole. Only for want of
// room may an operation fail that has no result, and only outside a session may one that nobody knows be named.
func (c *CB_COMPOUND4res) lawful() error {
	last := NFS4_OK
	for i := range c.Resarray {
		op := &c.Resarray[i]
		if last != NFS4_OK {
			return fmt.Errorf("result %d follows status %v", i, last)
		}
		last = op.Outcome()
		if g, ok := op.XdrUnionBody().(*CB_GETATTR4res); ok && last == NFS4_OK {
			if err := g.Resok4().Obj_attributes.lawful(); err != nil {
				return fmt.Errorf("result %d: %w", i, err)
			}
		}
		if !op.known() && last != NFS4ERR_OP_NOT_IN_SESSION {
			return fmt.Errorf("result %d: operation %d, which is unknown, with status %v", i, op.Resop, last)
		}
	}
	switch {
	case last == c.Status:
	case len(c.Resarray) == 0, last == NFS4_OK && c.Status == NFS4ERR_RESOURCE:
	default:
		return fmt.Errorf("status %v, but that of the last result is %v", c.Status, last)
	}
	return nil
}

// known reports whether the laws have the operation.
func (r *Nfs_cb_resop4) known() bool {
	return Nfs_cb_opnum4(r.Resop).XdrEnumNames()[int32(r.Resop)] != ""
}

// Outcome is the status of a result.
func (r *Nfs_cb_resop4) Outcome() Nfsstat4 {
	switch v := r.XdrUnionBody().(type) {
	case *CB_STATUS4res:
		return v.Status
	case *CB_GETATTR4res:
		return v.Status
	case *CB_SEQUENCE4res:
		return v.Csr_status
	}
	return NFS4_OK
}

// attrSize is the size of the attributes that a client may be asked for.
var attrSize = map[int]int{
	3:  8,  // change
	4:  8,  // size
	47: 12, // time_access
	52: 12, // time_metadata
	53: 12, // time_modify
	84: 12, // time_deleg_access, RFC 9754
	85: 12, // time_deleg_modify
}

// lawful: the values are as long as the attributes in the mask say. Those of others are not known.
func (f *Fattr4) lawful() error {
	want := 0
	for i, w := range f.Attrmask {
		for bit := range 32 {
			if w>>bit&1 == 0 {
				continue
			}
			n, ok := attrSize[32*i+bit]
			if !ok {
				return fmt.Errorf("attribute %d, which a callback may not ask for", 32*i+bit)
			}
			want += n
		}
	}
	if len(f.Attr_vals) != want {
		return fmt.Errorf("attribute values of %d octets, want %d", len(f.Attr_vals), want)
	}
	return nil
}
