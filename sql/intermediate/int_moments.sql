-- one row per user: the moment after $n_cuts cuts of the last fifth of the ratings;
-- positions up to n_history are its past, the next ones up to n_known its future
with ratings as (
    select * from int_ratings
),

counted as (
    select
        user_id,
        count(*) as n_ratings
    from ratings
    group by user_id
),

cut as (
    select
        user_id,
        list_transform(
            range($n_cuts + 1),
            lambda depth: list_reduce(
                range(depth),
                -- ceil(0.8 * n) without floats: the protocol's first hold-out position
                lambda n_left, cut_number: (4 * n_left + 4) // 5,
                n_ratings
            )
        ) as n_left
    from counted
),

moments as (
    select
        user_id,
        n_left[-1] as n_history,
        coalesce(n_left[-2], n_left[-1]) as n_known
    from cut
)

select * from moments
