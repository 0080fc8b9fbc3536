"""The supabase engine on loopback: every component is a process of its own, with the variables that the operator gives its pods."""
