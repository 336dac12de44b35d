"""Handing flags to SDKs of servers, which evaluate by themselves."""
