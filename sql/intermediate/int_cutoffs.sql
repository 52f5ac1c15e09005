-- one row per user: the cutoff after removing the last fifth of the ratings $n_cuts
-- times and then $n_next more ratings, or all but one. Positions up to n_history are
-- the user's history, the next ones up to n_with_future the future. $short_share of the
-- users, drawn by a hash, keep one to five ratings, so that a model learns from such.
with recursive ratings as (
    select * from int_ratings
),

cuts as (
    select
        user_id,
        0 as depth,
        count(*) as n_left
    from ratings
    group by user_id
    union all
    select
        user_id,
        depth + 1 as depth,
        -- ceil(0.8 * n) without floats: the evaluation protocol's hold-out starts there
        (4 * n_left + 4) // 5 as n_left
    from cuts
    where depth < $n_cuts
),

counted as (
    select
        user_id,
        min(n_left) filter (where depth = $n_cuts) as n_left,
        max(n_left) filter (where depth >= $n_cuts - 1) as n_left_before
    from cuts
    group by user_id
),

cut as (
    select
        user_id,
        greatest(n_left - $n_next, 1) as n_history,
        if($n_next = 0, n_left_before, n_left) as n_with_future,
        mod(user_id::bigint * 2654435761, 4294967296) as draw
    from counted
    -- users without a history at the cutoff are left out
    where n_left > least($n_next, 1)
),

-- where that many histories are short already, none is shortened
shortening as (
    select
        if(
            count(*) filter (where n_history <= 5) < $short_share * count(*),
            $short_share * 4294967296,
            0
        ) as below
    from cut
),

shortened as (
    select
        cut.user_id,
        if(
            cut.draw < shortening.below,
            least(1 + mod(cut.draw, 5), cut.n_history),
            cut.n_history
        ) as n_short,
        cut.n_history,
        cut.n_with_future
    from cut
    cross join shortening
),

cutoffs as (
    select
        user_id,
        n_short as n_history,
        if(n_short < n_history, least(n_short + 20, n_with_future), n_with_future)
            as n_with_future
    from shortened
)

select * from cutoffs
