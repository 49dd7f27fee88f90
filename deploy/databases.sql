-- Run once, when the container's database is made: carryover itself is there already.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
