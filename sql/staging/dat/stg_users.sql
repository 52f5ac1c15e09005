-- one row per user_id of ml-1m's users.dat
with source as (
    select *
    from
        read_csv(
            $users_path,
            delim = '::',
            header = false,
            quote = '',
            escape = '',
            auto_detect = false,
            hive_partitioning = false,
            columns = {
                'user_id': 'INTEGER',
                'gender': 'VARCHAR',
                'age': 'INTEGER',
                'occupation': 'INTEGER',
                'zip_code': 'VARCHAR'
            }
        )
),

described as (
    select
        user_id,
        -- the lowest age of the user's age group: 1, 18, 25, 35, 45, 50 or 56
        age,
        gender,
        -- the names of the codes 0 to 20, from the README of ml-1m
        [
            'other',
            'academic/educator',
            'artist',
            'clerical/admin',
            'college/grad student',
            'customer service',
            'doctor/health care',
            'executive/managerial',
            'farmer',
            'homemaker',
            'K-12 student',
            'lawyer',
            'programmer',
            'retired',
            'sales/marketing',
            'scientist',
            'self-employed',
            'technician/engineer',
            'tradesman/craftsman',
            'unemployed',
            'writer'
        ][occupation + 1] as occupation,
        cast(user_id as varchar) as user_key
    from source
)

select * from described
