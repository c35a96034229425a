//! Floor 6: who verifies a credential.
