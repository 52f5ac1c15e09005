-- one row per user_id of ml-100k's u.user
with source as (
    select *
    from
        read_csv(
            $users_path,
            delim = '|',
            header = false,
            quote = '',
            escape = '',
            auto_detect = false,
            hive_partitioning = false,
            columns = {
                'user_id': 'INTEGER',
                'age': 'INTEGER',
                'gender': 'VARCHAR',
                'occupation': 'VARCHAR',
                'zip_code': 'VARCHAR'
            }
        )
),

described as (
    select
        user_id,
        age,
        gender,
        occupation,
        cast(user_id as varchar) as user_key
    from source
)

select * from described
