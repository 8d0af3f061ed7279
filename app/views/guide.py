"""Guide: what every page asks, and how its charts are read."""

from __future__ import annotations

import guide
import streamlit as st

with st.container(key=guide.PAGE):
    st.markdown(guide.text())
