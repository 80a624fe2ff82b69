"""The fleet: many hosts driven from one laptop over SSH.

It meets a waiter only through the command line on its host, with JSON, and knows neither kitchen nor delivery: hosts
may run another version of Waiter.
"""
